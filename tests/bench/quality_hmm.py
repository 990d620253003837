"""The part of the quality benchmark whose best possible result is known: the sticky hidden Markov chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tests.support.market_training import Study, Task
from trainmaster.api.hyperparameters import Scalar
from trainmaster_trainer.evaluation.calibration import calibrate
from trainmaster_trainer.market.inputs import load_dataset
from trainmaster_trainer.synthetic.ceiling import Ceiling

SEPARATIONS: Final = (0.5, 0.8, 1.5)
"""Best possible accuracies of about .64, .74 and .83, where always saying the commonest class gets .56."""
SEEDS: Final = 3
ROWS: Final = 20_000
ROWS_QUICK: Final = 6_000
WINDOW: Final = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """One chain, and the training on it."""

    separation: float
    seed: int
    rows: int

    @property
    def source(self) -> str:
        """Where the trainer gets it from."""
        return f"synthetic://hmm?separation={self.separation}&rows={self.rows}&seed={self.seed}"

    def task(self, values: Mapping[str, Scalar]) -> Task:
        """The training."""
        return Task(values={**values, "seed": self.seed, "window": WINDOW}, source=self.source, volumes={})

    def ceiling(self, one: Study) -> Ceiling:
        """The best possible result on the rows that were tested."""
        truth = load_dataset(self.source, volumes={}, horizon=1, dead_zone=0.0).truth
        if truth is None:
            message = f"{self.source} declares no best possible result"
            raise ValueError(message)
        return truth.ceiling(one.test, window=WINDOW)


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """How a training came out beside the best possible, on the same rows."""

    chain: Chain
    ceiling: Ceiling
    accuracy: float
    log_loss: float
    """After calibration."""
    log_loss_as_trained: float
    seconds: float
    epochs: int

    @property
    def missing(self) -> float:
        """Accuracy that the best possible classifier has more, in points."""
        return 100 * (self.ceiling.bayes_accuracy - self.accuracy)

    @property
    def excess(self) -> float:
        """Accuracy above the best possible, in its standard errors; above 3 is proof of a leak."""
        return (self.accuracy - self.ceiling.bayes_accuracy) / self.ceiling.standard_error


def chains(*, quick: bool, seed: int) -> list[Chain]:
    """Three separations with three seeds each; a quick run has one of each."""
    separations = SEPARATIONS[1:2] if quick else SEPARATIONS
    rows, seeds = (ROWS_QUICK, 1) if quick else (ROWS, SEEDS)
    return [Chain(separation=s, seed=seed + n, rows=rows) for s in separations for n in range(seeds)]


def distance(chain: Chain, one: Study) -> Distance:
    """Judge a finished training as the trainer judges it: calibrated on its validation rows."""
    targets = one.targets[one.test]
    calibration = calibrate(one.validation_said, one.targets[one.validation], shift=one.shift)
    said = calibration.apply(one.test_said)
    rows = np.arange(len(targets))
    return Distance(
        chain=chain,
        ceiling=chain.ceiling(one),
        accuracy=float((said.argmax(axis=1) == targets).mean()),
        log_loss=-float(said[rows, targets].mean()),
        log_loss_as_trained=-float(one.test_said[rows, targets].mean()),
        seconds=one.seconds,
        epochs=one.epochs,
    )


def of_separation(found: Sequence[Distance], separation: float) -> list[Distance]:
    """Those of one separation."""
    return [each for each in found if each.chain.separation == separation]
