"""Several instruments in one file: their rows are put together, each in the order of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.cells import Chunk
from trainmaster_trainer.market.dataset import Rows

INSTRUMENT_NAMES: Final = ("symbol", "instrument", "ticker")
"""Names of the column that says what is traded."""
Column = TypeVar("Column", bound=np.generic)


@dataclass(kw_only=True, slots=True)
class Places:
    """Where rows stand in their file, and to which instrument they belong; filled chunk by chunk."""

    name: str
    time_column: str
    instrument_column: str | None
    _lines: list[NDArray[np.int64]] = field(default_factory=list)
    _codes: list[NDArray[np.int64]] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)
    _reversed: list[str] = field(default_factory=list)
    _unit: str = "line"

    @property
    def notes(self) -> tuple[str, ...]:
        """What `arrange` repaired, in words."""
        if not self._reversed:
            return ()
        return (f"the newest row comes first{_of(', '.join(self._reversed))}; the rows are put in the order of time",)

    def add(self, chunk: Chunk) -> None:
        """Note a chunk's rows. Raises DataError for a row without an instrument where there is a column of them."""
        self._unit = chunk.unit
        self._lines.append(chunk.places)
        if self.instrument_column is None:
            return
        cells = chunk.text(self.instrument_column)
        empty = np.asarray(cells == "")
        if empty.any():
            chunk.refuse(
                empty,
                column=self.instrument_column,
                problem="names no instrument",
                way_out="name one in every row, or remove the column",
            )
        codes, names = pd.factorize(cells)
        known = [self._known.setdefault(str(each), len(self._known)) for each in names]
        self._codes.append(np.array(known, dtype=np.int64)[codes])

    def arrange(self, time: NDArray[np.datetime64]) -> Arrangement:
        """The order that puts instruments together, oldest first. Raises DataError for times twice or in no order."""
        lines = np.concatenate(self._lines)
        if len(self._known) <= 1:
            order = self._order(time, lines, instrument="")
            return Arrangement(order=order, instruments=tuple(self._known) or ("",), starts=(0,))
        codes = np.concatenate(self._codes)
        # Stable: within an instrument the rows stay in the order of the file.
        together = np.argsort(codes, kind="stable").astype(np.int64)
        bounds = np.searchsorted(codes[together], np.arange(len(self._known) + 1))
        for instrument, start, end in zip(self._known, bounds[:-1], bounds[1:], strict=True):
            part = together[start:end]
            together[start:end] = part[self._order(time[part], lines[part], instrument=instrument)]
        starts = tuple(int(start) for start in bounds[:-1])
        return Arrangement(order=together, instruments=tuple(self._known), starts=starts)

    def _order(self, time: NDArray[np.datetime64], lines: NDArray[np.int64], *, instrument: str) -> slice:
        """Oldest first: as the rows are, or the other way round."""
        steps = np.diff(time) > np.timedelta64(0)
        if steps.all():
            return slice(None)
        self._refuse_repeated(time, lines, instrument=instrument)
        if not steps.any():
            self._reversed.append(instrument)
            return slice(None, None, -1)
        # Against the direction that most of the file goes.
        at = int((steps != (steps.mean() > 0.5)).argmax()) + 1
        message = (
            f"{self._place(time, lines, at)} comes after {_written(time[at - 1])!r} ({self._unit} {lines[at - 1]})"
            f"{_of(instrument)}, against the order of the file; sort the file by time"
        )
        raise DataError(message)

    def _refuse_repeated(self, time: NDArray[np.datetime64], lines: NDArray[np.int64], *, instrument: str) -> None:
        repeated = np.asarray(pd.Series(time).duplicated())
        if not repeated.any():
            return
        at = int(repeated.argmax())
        before = lines[int((time == time[at]).argmax())]
        way_out = "" if self.instrument_column else ", or name the instruments in a column `symbol`"
        message = (
            f"{self._place(time, lines, at)} is the time of {self._unit} {before} again{_of(instrument)} "
            f"({int(repeated.sum())} times twice); remove one of the rows{way_out}"
        )
        raise DataError(message)

    def _place(self, time: NDArray[np.datetime64], lines: NDArray[np.int64], at: int) -> str:
        return f"{self.name}: {self._unit} {lines[at]}, column {self.time_column}: {_written(time[at])!r}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrangement:
    """How rows of a file become rows of instruments."""

    order: slice | Rows
    instruments: tuple[str, ...]
    starts: tuple[int, ...]

    @property
    def as_it_is(self) -> bool:
        """Whether the order is the file's."""
        return isinstance(self.order, slice) and self.order.step is None

    def apply(self, column: NDArray[Column]) -> NDArray[Column]:
        """A column (or rows) in that order; no copy is made where the order is the file's, or its reverse."""
        return column[self.order]


def _written(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="s")).replace("T", " ")


def _of(instrument: str) -> str:
    return f" for {instrument}" if instrument else ""
