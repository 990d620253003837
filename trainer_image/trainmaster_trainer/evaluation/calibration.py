"""Probabilities that mean what they say: the oversampled prior undone, one temperature, and how far off they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from trainmaster_trainer.evaluation.predictions import Floats, Ints, Predictions, normalise

COLDEST: Final = 0.05
HOTTEST: Final = 20.0
"""Temperatures outside are no calibration any more: the model says nothing, or knows everything, on these rows."""
AT_LIMIT: Final = 1e-6
"""Share by which a temperature that was cut off may lie within the limits: what bisection leaves."""
BISECTIONS: Final = 60
"""Halvings of the range of temperatures: more than a double can hold."""
BINS: Final = 15
"""Bins of equal width that the calibration error is computed over (Guo et al. 2017)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Rows whose likeliest class has a probability in one range."""

    low: float
    high: float
    rows: int
    confidence: float
    """Mean probability of the class predicted; 0 without rows."""
    accuracy: float
    """Share of hits; 0 without rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What turns a model's log probabilities into calibrated ones: add `shift`, divide by `temperature`, normalise."""

    temperature: float
    shift: tuple[float, ...]
    """One number per class, log(pi_true / pi_trained); zeros where training saw the true frequencies."""

    @property
    def at_limit(self) -> bool:
        """Whether a temperature further out would have fitted better."""
        return not COLDEST * (1 + AT_LIMIT) < self.temperature < HOTTEST * (1 - AT_LIMIT)

    def apply(self, log_probabilities: Floats) -> Floats:
        """Calibrated log probabilities (rows, classes)."""
        return normalise((log_probabilities + np.asarray(self.shift)) / self.temperature)


def prior_shift(true_prior: Floats, trained_prior: Floats) -> tuple[float, ...]:
    """What to add to each class' logit: log(pi_true / pi_trained) (Saerens et al. 2002).

    A class that either prior does not know keeps its logit: there is nothing to undo.
    """
    known = (true_prior > 0) & (trained_prior > 0)
    shift = np.log(true_prior, out=np.zeros(len(known)), where=known)
    shift -= np.log(trained_prior, out=np.zeros(len(known)), where=known)
    return tuple(shift.tolist())


def calibrate(log_probabilities: Floats, targets: Ints, *, shift: tuple[float, ...]) -> Calibration:
    """Fit the temperature on validation rows, after the shift."""
    shifted = normalise(log_probabilities + np.asarray(shift))
    return Calibration(temperature=fit_temperature(shifted, targets), shift=shift)


def fit_temperature(log_probabilities: Floats, targets: Ints) -> float:
    """The temperature with the lowest log-loss on some rows; 1 where no temperature makes a difference.

    The log-loss is convex in b = 1 / temperature; its slope is the mean over rows of (expected logit - logit of the
    class that came), so the minimum is where the slope changes its sign.
    """
    came = log_probabilities[np.arange(len(targets)), targets]

    def slope(b: float) -> float:
        probabilities = np.exp(normalise(b * log_probabilities))
        return float(((probabilities * log_probabilities).sum(axis=1) - came).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) == slope(high):
        return 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 2 / (low + high)


def reliability(predictions: Predictions, *, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """How often the class predicted came, by the probability that it was given."""
    confidence = np.exp(predictions.log_probabilities.max(axis=1))
    hits = (predictions.predicted == predictions.targets).astype(np.float64)
    index = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    rows = np.bincount(index, minlength=bins)
    divisor = np.maximum(rows, 1)
    mean_confidence = np.bincount(index, weights=confidence, minlength=bins) / divisor
    accuracy = np.bincount(index, weights=hits, minlength=bins) / divisor
    return tuple(
        ReliabilityBin(
            low=at / bins,
            high=(at + 1) / bins,
            rows=int(rows[at]),
            confidence=float(mean_confidence[at]),
            accuracy=float(accuracy[at]),
        )
        for at in range(bins)
    )


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by rows; 0 to 1."""
    total = sum(each.rows for each in bins)
    return sum(each.rows * abs(each.confidence - each.accuracy) for each in bins) / total
