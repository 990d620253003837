"""What a model said about the rows of one block, and what came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Times = NDArray[Any]
"""Anything that sorts: datetime64, or whole numbers that count bars."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predictions:
    """Log probabilities (rows, classes), normalised and finite; targets (rows,); times (rows,), equal ones together.

    Raises DataError if the shapes do not fit, a target is no class, or there is no row.
    """

    log_probabilities: Floats
    targets: Ints
    times: Times

    def __post_init__(self) -> None:
        rows = len(self.targets)
        if self.log_probabilities.ndim != 2 or not rows == len(self.log_probabilities) == len(self.times):
            shapes = f"{self.log_probabilities.shape}, {self.targets.shape}, {self.times.shape}"
            message = f"log probabilities, targets and times of shapes {shapes} are not of the same rows"
            raise DataError(message)
        if rows == 0:
            raise DataError("there is no row to judge: give more rows or a larger share to this block")
        if self.targets.min() < 0 or self.targets.max() >= self.classes:
            bad = self.targets[(self.targets < 0) | (self.targets >= self.classes)]
            message = f"{len(bad)} targets are no class of 0 to {self.classes - 1}, the first is {bad[0]}"
            raise DataError(message)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.log_probabilities.shape[1])

    @property
    def predicted(self) -> Ints:
        """The likeliest class of each row; of equals the first."""
        predicted: Ints = self.log_probabilities.argmax(axis=1)
        return predicted

    @property
    def log_likelihood(self) -> Floats:
        """Log probability of the class that came, of each row, in nats."""
        picked: Floats = self.log_probabilities[np.arange(len(self.targets)), self.targets]
        return picked

    def saying(self, log_probabilities: Floats) -> Predictions:
        """The same rows, judged by another model."""
        return Predictions(log_probabilities=log_probabilities, targets=self.targets, times=self.times)


def normalise(scores: Floats) -> Floats:
    """Log probabilities from logits or log probabilities, (rows, classes)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def without_nonfinite(log_probabilities: Floats) -> tuple[Floats, int]:
    """Rows that hold a NaN or an infinity say "no idea" instead: uniform; with their number.

    So a model that broke on some rows is judged for it on these rows, and no score turns into NaN.
    """
    bad: NDArray[np.bool_] = ~np.all(np.isfinite(log_probabilities), axis=1)
    uniform = -np.log(log_probabilities.shape[1])
    return np.where(bad[:, None], uniform, log_probabilities), int(bad.sum())
