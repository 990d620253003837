"""What every source of market data becomes: rows of features with a class each, by instrument, oldest first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.synthetic.ceiling import Truth

UNKNOWN: Final = -1
"""Label of a row whose class is not known."""
CHUNK: Final = 1 << 16
"""Rows that are looked at together: a bound on memory."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Rows of features with a class each. The rows of an instrument follow each other, oldest first."""

    name: str
    fingerprint: str
    """Hash of where the rows come from: the same rows have the same one."""
    feature_names: tuple[str, ...]
    values: NDArray[np.float32]
    """(rows, features); NaN where a feature is not known. May be mapped from a file; writing to it changes no file."""
    labels: NDArray[np.int64]
    """(rows,): the class, or UNKNOWN."""
    classes: tuple[str, ...]
    time: NDArray[np.datetime64]
    """(rows,), in UTC. Where the source has no times the row's number, in nanoseconds."""
    horizon: int
    """Rows after which a label is known, 1 or more."""
    timed: bool = True
    instruments: tuple[str, ...] = ("",)
    starts: tuple[int, ...] = (0,)
    """First row of each instrument."""
    truth: Truth | None = None
    """What the maker of the data knows; None for data that was measured."""
    notes: tuple[str, ...] = ()
    """What was repaired or is worth a warning, in words, without the name; whoever trains on the rows says it aloud."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ends(self) -> tuple[int, ...]:
        """The row after the last one of each instrument."""
        return (*self.starts[1:], len(self))

    def select(self, rows: Rows) -> Dataset:
        """Some rows, ascending, as a dataset of their own (a copy); instruments without any are left out."""
        bounds = np.searchsorted(rows, [*self.starts, len(self)])
        kept = [n for n in range(len(self.instruments)) if bounds[n] < bounds[n + 1]]
        return replace(
            self,
            values=self.values[rows],
            labels=self.labels[rows],
            time=self.time[rows],
            instruments=tuple(self.instruments[n] for n in kept),
            starts=tuple(int(bounds[n]) for n in kept),
            truth=None if self.truth is None else self.truth.select(rows),
        )


def complete_rows(dataset: Dataset) -> NDArray[np.bool_]:
    """(rows,): whether all features of a row are finite numbers."""
    complete = np.empty(len(dataset), dtype=np.bool_)
    for begin in range(0, len(dataset), CHUNK):
        part = slice(begin, begin + CHUNK)
        complete[part] = np.isfinite(dataset.values[part]).all(axis=1)
    return complete


def usable_rows(dataset: Dataset, *, window: int) -> Rows:
    """Rows whose label is known and whose window is complete and lies within one instrument; ascending."""
    complete = complete_rows(dataset)
    # Incomplete rows up to each row: a window is complete if none came within it.
    missing = np.concatenate([[0], np.cumsum(~complete)])
    usable = dataset.labels != UNKNOWN
    for start, end in zip(dataset.starts, dataset.ends, strict=True):
        first = min(start + window - 1, end)
        usable[start:first] = False
        usable[first:end] &= missing[first + 1 : end + 1] == missing[first + 1 - window : end + 1 - window]
    return np.flatnonzero(usable).astype(np.int64)
