"""What no honest result exceeds: the best possible accuracy on some rows, and how far luck reaches above it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """The best possible classifier on some rows; an accuracy above it by 3 standard errors is proof of a leak."""

    bayes_accuracy: float
    """Share of these rows that it gets right."""
    standard_error: float
    """Of that share, with neighbouring rows taken for dependent."""
    log_loss: float
    """Mean negative log-likelihood of these rows under the true probabilities, in nats."""


class Truth(Protocol):
    """What the maker of the data knows about it."""

    def log_probabilities(self, rows: Rows, *, window: int) -> Floats:
        """(rows, classes): the true log-probability of each class, given the window that ends at each row."""

    def ceiling(self, rows: Rows, *, window: int) -> Ceiling:
        """The best possible result on some rows, in the order of time."""

    def select(self, rows: Rows) -> Truth:
        """The truth about some of the rows, numbered anew."""


def block_standard_error(values: Floats, *, block: int) -> float:
    """Standard error of the mean of a dependent series: the moving-block bootstrap's, in closed form.

    It draws n / block of the overlapping blocks with replacement, so the variance of its mean is that of the blocks'
    means times block / n (Kuensch 1989). A block is at most half of the series.
    """
    count = len(values)
    length = max(min(block, count // 2), 1)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means = (sums[length:] - sums[:-length]) / length
    return math.sqrt(float(means.var()) * length / count)
