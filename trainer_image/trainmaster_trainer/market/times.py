"""Times of bars: one format for a whole file, never guessed cell by cell."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.cells import Chunk

TIME_NAMES: Final = ("time", "date", "datetime", "timestamp")
"""Names of the column of times."""
FORMATS: Final = (
    "ISO8601",
    "%d.%m.%Y %H:%M:%S.%f",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%Y-%m-%d %I-%p",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
)
"""What price files in use are written in; two that both fit a whole file are refused as ambiguous."""
MILLISECONDS_FROM: Final = 1e11
"""Numbers of this size are milliseconds since 1970: as seconds they would lie after the year 5100."""


UNIX: Final = r"\d{9,13}(\.0*)?"
"""Seconds or milliseconds since 1970, since 1973 and until the year 5138."""


class Times:
    """The column of times of a file, in UTC, chunk by chunk; a time without a zone is taken for UTC.

    Each chunk leaves the formats that still fit the whole file; a file that several of them fit must mean the same.
    """

    def __init__(self, column: str, *, name: str) -> None:
        self._column, self._name = column, name
        self._parsed: dict[str, list[NDArray[np.datetime64]]] = {}
        self._first = ""

    def add(self, chunk: Chunk) -> None:
        """Read a chunk's times. Raises DataError for a cell that is no time in any format that fits so far."""
        cells = chunk.frame[self._column]
        typed = pd.api.types.is_datetime64_any_dtype(cells)
        read = {TYPED: _typed(cells)} if typed else _attempts(self._text(chunk), known=self._parsed)
        fitting = {each: times for each, times in read.items() if not np.isnat(times).any()}
        if not fitting:
            best = max(read.values(), key=lambda times: int((~np.isnat(times)).sum()))
            chunk.refuse(
                np.isnat(best), column=self._column, problem="is no time", way_out="write times as YYYY-MM-DD HH:MM:SS"
            )
        self._first = self._first or str(chunk.text(self._column).iloc[0])
        self._parsed = {each: [*self._parsed.get(each, []), times] for each, times in fitting.items()}

    def finish(self) -> NDArray[np.datetime64]:
        """All times. Raises DataError for a file whose day and month cannot be told apart."""
        whole = {each: np.concatenate(parts) for each, parts in self._parsed.items()}
        first, *others = whole.values()
        if any(not np.array_equal(first, other) for other in others):
            message = (
                f"{self._name}: column {self._column}: {self._first!r} could be {' or '.join(whole)}; write times as "
                "YYYY-MM-DD HH:MM:SS"
            )
            raise DataError(message)
        return first

    def _text(self, chunk: Chunk) -> pd.Series[str]:
        cells = chunk.frame[self._column]
        # Whole numbers of a Parquet file are read like their digits in a CSV file.
        if pd.api.types.is_float_dtype(cells):
            return cells.map(lambda number: f"{number:.0f}")
        return chunk.text(self._column)


FEW_CELLS: Final = 100
"""Cells that formats are tried on before all are read."""
TYPED: Final = "typed"
SECONDS: Final = "seconds since 1970"
MILLISECONDS: Final = "milliseconds since 1970"


def _attempts(cells: pd.Series[str], *, known: Collection[str]) -> dict[str, NDArray[np.datetime64]]:
    """The cells read in each format that fitted so far, or in all; NaT where one does not fit."""
    if cells.str.fullmatch(UNIX).all():
        unit = _unit(cells, known=known)
        numbers = pd.to_numeric(cells)
        return {unit: _naive(pd.to_datetime(numbers, unit="ms" if unit == MILLISECONDS else "s", utc=True))}
    candidates = [each for each in FORMATS if each in known] or FORMATS
    # What does not fit is slow to find out: a few cells rule out most formats.
    likely = [each for each in candidates if not np.isnat(_parse(cells.iloc[:FEW_CELLS], each)).any()]
    return {each: _parse(cells, each) for each in likely or candidates}


def _parse(cells: pd.Series[str], given: str) -> NDArray[np.datetime64]:
    return _naive(pd.to_datetime(cells, format=given, utc=True, errors="coerce"))


def _unit(cells: pd.Series[str], *, known: Collection[str]) -> str:
    """Milliseconds or seconds: the size of the file's first number says it."""
    if MILLISECONDS in known or SECONDS in known:
        return MILLISECONDS if MILLISECONDS in known else SECONDS
    return MILLISECONDS if float(cells.iloc[0]) >= MILLISECONDS_FROM else SECONDS


def _typed(cells: pd.Series[Any]) -> NDArray[np.datetime64]:
    return _naive(cells if cells.dt.tz is not None else cells.dt.tz_localize("UTC"))


def _naive(times: Any) -> NDArray[np.datetime64]:  # noqa: ANN401  # pandas has no name for what to_datetime gives
    values: NDArray[np.datetime64] = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")
    return values
