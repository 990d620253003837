"""Standardising features by the train rows and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.market.dataset import CHUNK, Rows

Floats = NDArray[np.float64]
TINY_SHARE: Final = 1e-6
"""A deviation below this share of the column's largest number is what float32 makes of a constant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaler:
    """Mean and deviation of each feature, of the train rows and no others."""

    mean: Floats
    deviation: Floats
    """Infinite for a feature that is constant in the train rows: it becomes 0 everywhere, which drops it."""
    rows: int

    @classmethod
    def fit(cls, values: NDArray[np.floating], *, rows: Rows) -> Scaler:
        """Fit on some rows, chunk by chunk in double precision; their values are finite."""
        parts = [rows[begin : begin + CHUNK] for begin in range(0, len(rows), CHUNK)]
        mean = np.sum([values[part].sum(axis=0, dtype=np.float64) for part in parts], axis=0) / len(rows)
        squares = np.sum([((values[part] - mean) ** 2).sum(axis=0) for part in parts], axis=0)
        largest = np.max([np.abs(values[part]).max(axis=0) for part in parts], axis=0)
        deviation = np.sqrt(squares / len(rows))
        constant = deviation <= TINY_SHARE * largest
        return cls(mean=mean, deviation=np.where(constant, np.inf, deviation), rows=len(rows))

    @property
    def constant(self) -> tuple[int, ...]:
        """Columns that are constant in the train rows."""
        return tuple(int(column) for column in np.flatnonzero(np.isinf(self.deviation)))

    def apply(self, values: NDArray[np.floating], *, limit: float) -> Floats:
        """Standardise all rows, clipped to +-limit deviations; a copy."""
        return np.clip((values - self.mean) / self.deviation, -limit, limit)

    def scale(self, values: NDArray[np.float32], *, limit: float) -> None:
        """The same in place, chunk by chunk; what is not known (NaN) becomes 0, the mean."""
        for begin in range(0, len(values), CHUNK):
            part = values[begin : begin + CHUNK]
            part[:] = np.nan_to_num(self.apply(part, limit=limit), nan=0.0)
