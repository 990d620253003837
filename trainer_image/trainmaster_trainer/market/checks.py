"""What a split shows about its columns: one that has another scale later than where it was learnt from.

The statistics are the quartiles of train and test rows, before anything is scaled or clipped: heavy tails do not move
them, a change of unit does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.market.dataset import Dataset, Rows
from trainmaster_trainer.market.split import Split

SAMPLE: Final = 20_000
"""Rows of a block, evenly spread, that its quartiles are taken from: exact to about 1 % of the spread."""
SPREAD_FACTOR: Final = 5.0
"""An interquartile range that grows or shrinks by more is another unit, no livelier market: no feature of EUR/USD
hourly and GOOGL daily bars moved by a factor over 1.8 between blocks."""
SHIFT: Final = 3.0
"""A median that moves by more than so many interquartile ranges lies where the train rows have hardly been; none of the
features above moved by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One column whose test rows are unlike its train rows."""

    column: str
    spread_ratio: float
    """Interquartile range in test over that in train."""
    shift: float
    """Distance of the medians, in interquartile ranges of the train rows."""

    def __str__(self) -> str:
        return (
            f"column {self.column} has another scale in the test rows: its interquartile range is "
            f"{self.spread_ratio:.3g} times that of the train rows, its median {self.shift:.3g} of these ranges away; "
            "has its unit changed?"
        )


def drifted_columns(dataset: Dataset, split: Split) -> tuple[Drift, ...]:
    """Columns with another scale in test than in train; look before the values are standardised, which clips them."""
    train, test = _quartiles(dataset.values, split.train), _quartiles(dataset.values, split.test)
    spread, later = train[2] - train[0], test[2] - test[0]
    found = []
    for column, name in enumerate(dataset.feature_names):
        if spread[column] <= 0:  # mostly one value: no scale to compare with
            continue
        ratio = float(later[column] / spread[column])
        shift = float(abs(test[1][column] - train[1][column]) / spread[column])
        if not 1 / SPREAD_FACTOR <= ratio <= SPREAD_FACTOR or shift > SHIFT:
            found.append(Drift(column=name, spread_ratio=ratio, shift=shift))
    return tuple(found)


def _quartiles(values: NDArray[np.float32], rows: Rows) -> NDArray[np.float64]:
    """(3, columns): quartiles of some rows, which are complete."""
    sample = values[rows[:: max(len(rows) // SAMPLE, 1)]].astype(np.float64)
    quartiles: NDArray[np.float64] = np.quantile(sample, [0.25, 0.5, 0.75], axis=0)
    return quartiles
