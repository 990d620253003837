"""Walk-forward blocks: train | gap | validation | gap | test, in the order of time.

A row is the index of the bar whose close the prediction is made at. Its label ends `horizon` bars later. A row stays in
a block only if its label ended before the next block's first row, minus the embargo: so nothing that a block was fitted
or chosen by reaches into the block that judges it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.features import Floats

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Rows of the three blocks, each ascending."""

    train: Rows
    validation: Rows
    test: Rows


def walk_forward(  # six numbers that mean nothing without each other, all by keyword
    *, first: int, last: int, horizon: int, embargo: int, validation_share: float, test_share: float
) -> Split:
    """Split the rows `first` to `last`, both included; the shares are of their number.

    Raises DataError if a block has no row.
    """
    count = max(last - first + 1, 0)
    test_start = last + 1 - round(count * test_share)
    validation_start = test_start - round(count * validation_share)
    split = Split(
        train=_ended_before(validation_start, first=first, horizon=horizon, embargo=embargo),
        validation=_ended_before(test_start, first=validation_start, horizon=horizon, embargo=embargo),
        test=np.arange(test_start, last + 1, dtype=np.int64),
    )
    for name, rows in (("train", split.train), ("validation", split.validation), ("test", split.test)):
        if len(rows) == 0:
            message = (
                f"{count} usable rows leave none for the {name} block (horizon {horizon}, embargo {embargo}, "
                f"validation_share {validation_share}, test_share {test_share}): give more bars or a smaller embargo"
            )
            raise DataError(message)
    return split


def _ended_before(start: int, *, first: int, horizon: int, embargo: int) -> Rows:
    """Rows from `first` whose label ended before `start - embargo`."""
    return np.arange(first, max(start - embargo - horizon, first), dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaler:
    """Mean and deviation of each feature, of the train rows and no others."""

    mean: Floats
    deviation: Floats
    rows: int

    @classmethod
    def fit(cls, values: Floats, *, rows: Rows) -> Scaler:
        """Fit on some rows; a feature that is constant there is only centred."""
        seen = values[rows]
        deviation = seen.std(axis=0)
        return cls(mean=seen.mean(axis=0), deviation=np.where(deviation > 0, deviation, 1.0), rows=len(rows))

    def apply(self, values: Floats, *, limit: float) -> Floats:
        """Standardise all rows, clipped to +-limit deviations."""
        return np.clip((values - self.mean) / self.deviation, -limit, limit)
