"""Intervals by a moving-block bootstrap over time (Kuensch 1989).

Rows that follow each other are alike: their labels overlap, markets have calm and wild weeks. So whole stretches of
time are drawn, with all rows of a time stamp together, and the spread of the scores over such resamples is what an
interval says. All models are judged on the same resamples: a difference of two is a paired one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from trainmaster_trainer.evaluation.predictions import Floats, Ints, Predictions, Times
from trainmaster_trainer.evaluation.scores import Scores, from_sums, statistics

RESAMPLES: Final = 1000
"""Resamples behind an interval: its ends are then the 25th and the 975th of them."""
CONFIDENCE: Final = 0.95
BLOCK_FACTOR: Final = 3.0
"""Blocks are this times the cube root of the number of stamps (the rate of Kuensch 1989): 65 of 10,011 hourly bars,
which is what the known figures on such bars were judged with (72)."""
BLOCK_HORIZONS: Final = 2
"""A block is at least so many label horizons long: labels that overlap stay together."""
MIN_BLOCKS: Final = 10
"""Blocks are not so long that fewer fit: the spread over a handful of blocks says nothing."""
MAX_GROUPS: Final = 50_000
"""More stamps than this are taken together in groups of neighbours: memory stays flat, blocks stay longer than that."""
GATHERED_AT_ONCE: Final = 2_000_000
"""Block sums held at once, of one column: 16 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float
    standard_error: float
    """Deviation over the resamples; 0 where a single stamp gives nothing to resample."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Resampling:
    """Which stretches of time each resample is made of; the same for all models."""

    group: Ints
    """The group of stamps of each row."""
    groups: int
    starts: Ints
    """(resamples, blocks): the first group of each block."""
    length: int
    """Groups in a block; the last block of a resample is cut so that each has `groups`."""

    @classmethod
    def over(cls, times: Times, *, horizon: int, seed: int, resamples: int = RESAMPLES) -> Resampling:
        """Blocks over the stamps of some rows, in any order; the horizon is in stamps."""
        unique, inverse = np.unique(times, return_inverse=True)
        together = math.ceil(len(unique) / MAX_GROUPS)
        groups = math.ceil(len(unique) / together)
        length = math.ceil(block_length(len(unique), horizon=horizon) / together)
        blocks = math.ceil(groups / length)
        rng = np.random.default_rng(seed)
        starts = rng.integers(0, groups - length + 1, size=(resamples, blocks))
        return cls(group=inverse.astype(np.int64) // together, groups=groups, starts=starts, length=length)

    def sums(self, column: Floats) -> Floats:
        """Sums (1 + resamples,) of a column (rows,): over all rows, then over the rows of each resample."""
        totals = np.bincount(self.group, weights=column, minlength=self.groups)
        upto = np.concatenate([[0.0], np.cumsum(totals)])
        ends = self.starts + self.length
        ends[:, -1] -= self.starts.shape[1] * self.length - self.groups
        at_once = max(1, GATHERED_AT_ONCE // self.starts.shape[1])
        parts = [
            (upto[ends[at : at + at_once]] - upto[self.starts[at : at + at_once]]).sum(axis=1)
            for at in range(0, len(self.starts), at_once)
        ]
        return np.concatenate([[upto[-1]], *parts])

    def scores(self, predictions: Predictions) -> Scores:
        """Scores of some predictions, of all rows and of each resample."""
        return from_sums(np.stack([self.sums(column) for column in statistics(predictions)], axis=1))


def block_length(stamps: int, *, horizon: int) -> int:
    """Stamps in a block, 1 or more."""
    wanted = max(BLOCK_FACTOR * math.cbrt(stamps), BLOCK_HORIZONS * horizon)
    return max(1, min(round(wanted), stamps // MIN_BLOCKS))


def interval(samples: Floats) -> Interval:
    """The interval of a score: samples[0] is its value, the others are resamples (percentile method)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples[1:], [tail, 1 - tail])
    return Interval(
        value=float(samples[0]), low=float(low), high=float(high), standard_error=float(samples[1:].std(ddof=1))
    )
