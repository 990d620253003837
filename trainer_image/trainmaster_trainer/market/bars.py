"""OHLCV bars from a CSV or Parquet file: read, judged, oldest first, one or several instruments.

Whatever could be repaired by guessing is refused with the place and the value; what is repaired (a newest-first file,
an adjusted close, a volume of 0) is said aloud.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.cells import Chunk, column_names, find_column, read_chunks
from trainmaster_trainer.market.instruments import INSTRUMENT_NAMES, Places
from trainmaster_trainer.market.times import TIME_NAMES, Times
from trainmaster_trainer.sources import SourceFile

PRICES: Final = ("open", "high", "low", "close")
ADJUSTED_NAMES: Final = ("adjclose", "adjustedclose", "adjusted")
FREQUENT_ZERO_VOLUME: Final = 0.05
"""Above this share of bars without volume, the volume features say little: worth a warning."""

Floats = NDArray[np.float64]


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
    notes: tuple[str, ...] = ()
    """What was repaired or is worth a warning, in words."""

    def __len__(self) -> int:
        return len(self.close)

    def parts(self) -> Iterator[Bars]:
        """The bars of each instrument."""
        ends = (*self.starts[1:], len(self))
        for name, start, end in zip(self.instruments, self.starts, ends, strict=True):
            columns = {each: getattr(self, each)[start:end] for each in ("time", *PRICES, "volume")}
            yield Bars(name=self.name, instruments=(name,), **columns)


def read_bars(file: SourceFile) -> Bars:
    """The bars in a file. Raises DataError with file, row, column, value and a way out."""
    given = column_names(file)
    columns = _find_columns(given, name=file.name)
    times = Times(columns["time"], name=file.name)
    places = Places(name=file.name, time_column=columns["time"], instrument_column=columns.get("instrument"))
    outside = _Outside()
    pieces: dict[str, list[Floats]] = {each: [] for each in (*PRICES, "volume")}
    for chunk in read_chunks(file):
        for meaning, piece in _read_chunk(chunk, columns, outside=outside).items():
            pieces[meaning].append(piece)
        times.add(chunk)
        places.add(chunk)
    arrangement = places.arrange(time := times.finish())
    whole = {meaning: arrangement.apply(np.concatenate(pieces.pop(meaning))) for meaning in (*PRICES, "volume")}
    unused = tuple(column for column in given if column not in columns.values())
    return Bars(
        name=file.name,
        time=arrangement.apply(time),
        instruments=arrangement.instruments,
        starts=arrangement.starts,
        open=whole["open"],
        high=whole["high"],
        low=whole["low"],
        close=whole["close"],
        volume=whole["volume"],
        notes=(*_notes(whole["volume"], outside, columns=columns, unused=unused), *places.notes),
    )


def _find_columns(columns: tuple[str, ...], *, name: str) -> dict[str, str]:
    """The file's column for each meaning; names are compared without case, spaces and underscores."""
    meanings = (
        ("time", TIME_NAMES),
        *((each, (each,)) for each in (*PRICES, "volume")),
        ("adjusted", ADJUSTED_NAMES),
        ("instrument", INSTRUMENT_NAMES),
    )
    found = {meaning: find_column(columns, meaning=meaning, names=names, name=name) for meaning, names in meanings}
    missing = [each for each in ("time", *PRICES, "volume") if found[each] is None]
    if missing:
        message = (
            f"{name}: column {', '.join(missing)} is missing (the file has: {', '.join(columns)}); rename the columns "
            "to Time, Open, High, Low, Close, Volume, or add a column `label` to make it a feature table"
        )
        raise DataError(message)
    return {meaning: column for meaning, column in found.items() if column is not None}


@dataclass(kw_only=True, slots=True)
class _Outside:
    """Bars that open or close outside their range: told, but kept."""

    count: int = 0
    first: str = ""


def _read_chunk(chunk: Chunk, columns: dict[str, str], *, outside: _Outside) -> dict[str, Floats]:
    prices = {each: chunk.numbers(columns[each]) for each in PRICES}
    for each in PRICES:
        _check_positive(prices[each], chunk, column=columns[each])
    _check_ranges(prices, chunk, outside=outside)
    if "adjusted" in columns:
        adjusted = chunk.numbers(columns["adjusted"])
        _check_positive(adjusted, chunk, column=columns["adjusted"])
        # Adjusted close / close undoes splits and dividends.
        factor = adjusted / prices["close"]
        prices = {each: values * factor for each, values in prices.items()}
    return {**prices, "volume": _volume(chunk, columns["volume"])}


def _check_positive(values: Floats, chunk: Chunk, *, column: str) -> None:
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        chunk.refuse(bad, column=column, problem="is no price above 0", way_out="correct or remove the bar")


def _check_ranges(prices: dict[str, Floats], chunk: Chunk, *, outside: _Outside) -> None:
    high, low = prices["high"], prices["low"]
    bad = high < low
    if bad.any():
        at = int(bad.argmax())
        message = (
            f"{chunk.name}: {chunk.unit} {chunk.places[at]}: high {high[at]:g} is below low {low[at]:g} "
            f"({int(bad.sum())} such bars); correct or remove the bar"
        )
        raise DataError(message)
    out = (np.maximum(prices["open"], prices["close"]) > high) | (np.minimum(prices["open"], prices["close"]) < low)
    if out.any():
        outside.first = outside.first or f"{chunk.unit} {chunk.places[int(out.argmax())]}"
        outside.count += int(out.sum())


def _volume(chunk: Chunk, column: str) -> Floats:
    """NaN where it is missing or 0."""
    volume = chunk.numbers(column)
    bad = (volume < 0) | np.isinf(volume)
    if bad.any():
        way_out = "a volume is 0 or more, or empty where it is not known"
        chunk.refuse(bad, column=column, problem="is no volume", way_out=way_out)
    return np.where(volume > 0, volume, np.nan)


def _notes(volume: Floats, outside: _Outside, *, columns: dict[str, str], unused: tuple[str, ...]) -> Iterator[str]:
    if unused:
        yield f"nothing is made of column {', '.join(unused)}; bars are time, prices and volume"
    if "adjusted" in columns:
        yield f"open, high, low and close are scaled by {columns['adjusted']} / close"
    if outside.count:
        yield f"{outside.count} bars open or close outside their range, the first on {outside.first}"
    missing = int(np.isnan(volume).sum())
    if missing > FREQUENT_ZERO_VOLUME * len(volume):
        yield f"{missing} of {len(volume)} bars have no volume (0 or empty): volume features are neutral there"
