"""OHLCV bars from a CSV file: read, judged, oldest first.

Whatever could be repaired by guessing is refused with the place and the value; what is repaired (a newest-first file,
an adjusted close, a volume of 0) is said aloud.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.times import parse_times
from trainmaster_trainer.sources import SourceFile

log = logging.getLogger(__name__)

TIME_NAMES: Final = ("time", "date", "datetime", "timestamp")
PRICES: Final = ("open", "high", "low", "close")
ADJUSTED_NAMES: Final = ("adjclose", "adjustedclose", "adjusted")
FREQUENT_ZERO_VOLUME: Final = 0.05
"""Above this share of bars without volume, the volume features say little: worth a warning."""
FIRST_LINE: Final = 2
"""Line of the first bar in the file; line 1 is the header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """Price bars, oldest first, each time once; prices are positive and finite, high >= low."""

    name: str
    time: NDArray[np.datetime64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    """NaN where it is missing or 0."""
    instruments: tuple[str, ...] = ("",)
    """Names; one empty name where the file has none."""
    starts: tuple[int, ...] = (0,)
    """First bar of each instrument: the bars of an instrument follow each other."""

    def __len__(self) -> int:
        return len(self.close)

    def parts(self) -> Iterator[Bars]:
        """The bars of each instrument."""
        ends = (*self.starts[1:], len(self))
        for name, start, end in zip(self.instruments, self.starts, ends, strict=True):
            columns = {each: getattr(self, each)[start:end] for each in ("time", *PRICES, "volume")}
            yield Bars(name=self.name, instruments=(name,), **columns)


def read_bars(file: SourceFile) -> Bars:
    """The bars in a CSV file. Raises DataError with file, row, column, value and a way out."""
    table = _read_table(file)
    columns = _find_columns(table, name=file.name)
    prices = {each: _numbers(table, columns[each], name=file.name) for each in PRICES}
    for each in PRICES:
        _check_positive(prices[each], table, column=columns[each], name=file.name)
    _check_ranges(prices, table, name=file.name)
    if "adjusted" in columns:
        prices = _adjust(prices, table, column=columns["adjusted"], name=file.name)
    volume = _volume(table, columns["volume"], name=file.name)
    time = parse_times(table[columns["time"]], name=file.name)
    order = _order(time, table, column=columns["time"], name=file.name)
    return Bars(
        name=file.name,
        time=time[order],
        open=prices["open"][order],
        high=prices["high"][order],
        low=prices["low"][order],
        close=prices["close"][order],
        volume=volume[order],
    )


def _read_table(file: SourceFile) -> pd.DataFrame:
    """All cells as text; the index is the line in the file."""
    try:
        table = pd.read_csv(
            io.BytesIO(file.content),
            dtype=str,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            keep_default_na=False,
            compression="gzip" if PurePosixPath(file.name).suffix == ".gz" else None,
        )
    except (ValueError, OSError, EOFError) as error:  # pandas' own errors derive from ValueError
        message = f"{file.name}: this is no CSV file with a header: {error}; save it as CSV in UTF-8"
        raise DataError(message) from None
    if not isinstance(table.index, pd.RangeIndex):
        # What pandas makes of rows with more cells than the header: the first cells become an index, all columns shift.
        message = (
            f"{file.name}: the bars have more cells than the header has columns ({len(table.columns)}); "
            "name every column, and end no line with a comma"
        )
        raise DataError(message)
    table.index = pd.RangeIndex(FIRST_LINE, FIRST_LINE + len(table))
    table = table.map(lambda cell: cell.strip() if isinstance(cell, str) else "")
    table = table[(table != "").any(axis=1)]
    if table.empty:
        message = f"{file.name}: there is a header, but no bar below it; put one line per bar there"
        raise DataError(message)
    return table


def _fold(name: object) -> str:
    return str(name).strip().lower().replace(" ", "").replace("_", "")


def _find_columns(table: pd.DataFrame, *, name: str) -> dict[str, str]:
    """The file's column for each meaning; names are compared without case, spaces and underscores."""
    columns: dict[str, str] = {}
    for meaning, names in (
        ("time", TIME_NAMES),
        *((each, (each,)) for each in (*PRICES, "volume")),
        ("adjusted", ADJUSTED_NAMES),
    ):
        found = [str(column) for column in table.columns if _fold(column) in names]
        if len(found) > 1:
            message = f"{name}: columns {', '.join(found)} all mean {meaning}; leave one of them in the file"
            raise DataError(message)
        if found:
            columns[meaning] = found[0]
    missing = [each for each in ("time", *PRICES, "volume") if each not in columns]
    if missing:
        present = ", ".join(map(str, table.columns))
        message = (
            f"{name}: column {', '.join(missing)} is missing (line 1 has: {present}); rename the columns to Time, "
            "Open, High, Low, Close, Volume"
        )
        raise DataError(message)
    return columns


def _where(line: object, column: str, value: object) -> str:
    cell = repr(value) if value else "the empty cell"
    return f"line {line}, column {column}: {cell}"


def _numbers(table: pd.DataFrame, column: str, *, name: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where the cell is empty. Raises DataError for a cell that is no number."""
    cells = table[column]
    numbers: Any = pd.to_numeric(cells, errors="coerce")
    bad = np.asarray(numbers.isna() & (cells != "") & (cells.str.lower() != "nan"))
    if bad.any():
        at = int(bad.argmax())
        message = f"{name}: {_where(table.index[at], column, cells.iloc[at])} is no number; correct the cell"
        raise DataError(message)
    values: NDArray[np.float64] = numbers.to_numpy(dtype=np.float64)
    return values


def _check_positive(values: NDArray[np.float64], table: pd.DataFrame, *, column: str, name: str) -> None:
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        at = int(bad.argmax())
        place = _where(table.index[at], column, table[column].iloc[at])
        count = int(bad.sum())
        message = f"{name}: {place} is no price above 0 ({count} such cells in the column); correct or remove the bar"
        raise DataError(message)


def _check_ranges(prices: dict[str, NDArray[np.float64]], table: pd.DataFrame, *, name: str) -> None:
    high, low = prices["high"], prices["low"]
    bad = high < low
    if bad.any():
        at = int(bad.argmax())
        message = (
            f"{name}: line {table.index[at]}: high {high[at]:g} is below low {low[at]:g} ({int(bad.sum())} such bars); "
            "correct or remove the bar"
        )
        raise DataError(message)
    outside = (np.maximum(prices["open"], prices["close"]) > high) | (np.minimum(prices["open"], prices["close"]) < low)
    if outside.any():
        first = table.index[int(outside.argmax())]
        log.warning("%s: %d bars open or close outside their range, the first on line %s", name, outside.sum(), first)


def _adjust(
    prices: dict[str, NDArray[np.float64]], table: pd.DataFrame, *, column: str, name: str
) -> dict[str, NDArray[np.float64]]:
    """Scale all prices by adjusted close / close, which undoes splits and dividends."""
    adjusted = _numbers(table, column, name=name)
    _check_positive(adjusted, table, column=column, name=name)
    log.info("%s: open, high, low and close are scaled by %s / close", name, column)
    factor = adjusted / prices["close"]
    return {each: values * factor for each, values in prices.items()}


def _volume(table: pd.DataFrame, column: str, *, name: str) -> NDArray[np.float64]:
    volume = _numbers(table, column, name=name)
    bad = (volume < 0) | np.isinf(volume)
    if bad.any():
        at = int(bad.argmax())
        place = _where(table.index[at], column, table[column].iloc[at])
        message = f"{name}: {place} is no volume; a volume is 0 or more, or empty where it is not known"
        raise DataError(message)
    known = np.where(volume > 0, volume, np.nan)
    missing = int(np.isnan(known).sum())
    if missing > FREQUENT_ZERO_VOLUME * len(known):
        log.warning(
            "%s: %d of %d bars have no volume (0 or empty): volume features are neutral there",
            name,
            missing,
            len(known),
        )
    return known


def _order(time: NDArray[np.datetime64], table: pd.DataFrame, *, column: str, name: str) -> slice:
    """Oldest first: as the file is, or the other way round. Raises DataError for any other order."""
    cells = table[column]
    repeated = np.asarray(pd.Series(time).duplicated())
    if repeated.any():
        at = int(repeated.argmax())
        before = table.index[int((time == time[at]).argmax())]
        place = _where(table.index[at], column, cells.iloc[at])
        message = (
            f"{name}: {place} is the time of line {before} again ({int(repeated.sum())} times twice); "
            "remove one of the bars, and keep one symbol per file"
        )
        raise DataError(message)
    steps = np.diff(time) > np.timedelta64(0)
    if steps.all():
        return slice(None)
    if not steps.any():
        log.info("%s: the newest bar comes first; the bars are put in the order of time", name)
        return slice(None, None, -1)
    # Against the direction that most of the file goes.
    at = int((steps != (steps.mean() > 0.5)).argmax()) + 1
    place = _where(table.index[at], column, cells.iloc[at])
    message = (
        f"{name}: {place} comes after {cells.iloc[at - 1]!r} (line {table.index[at - 1]}), against the order of the "
        "file; sort the file by time"
    )
    raise DataError(message)
