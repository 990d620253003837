"""Accuracy, macro F1 and log-loss of a classifier at a validation.

Accuracy alone proves nothing: where most bars are flat, always saying "flat" is accurate. What counts is the distance
to the prior, in log-loss too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from torch import Tensor

Z_95: Final = 1.96
"""Standard errors of a 95 % interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """How well predicted probabilities fit the classes that came."""

    accuracy: float
    f1: float
    """Unweighted mean over all classes; a class that neither came nor was predicted counts 0."""
    log_loss: float
    """Mean negative log-likelihood, in nats."""


def score(log_probabilities: Tensor, targets: Tensor) -> Scores:
    """Scores of (rows, classes) log probabilities against (rows,) classes."""
    predicted = log_probabilities.argmax(dim=1)
    classes = log_probabilities.shape[1]
    picked = log_probabilities.double().gather(1, targets[:, None])
    return Scores(
        accuracy=float((predicted == targets).double().mean()),
        f1=sum(_f1(predicted == c, targets == c) for c in range(classes)) / classes,
        log_loss=-float(picked.mean()),
    )


def accuracy_half_width(rows: int) -> float:
    """Half-width of the 95 % interval of an accuracy near one half, measured on independent rows."""
    return Z_95 * math.sqrt(0.25 / rows)


def _f1(predicted: Tensor, actual: Tensor) -> float:
    hits = float((predicted & actual).sum())
    total = float(predicted.sum() + actual.sum())
    return 2 * hits / total if total else 0.0
