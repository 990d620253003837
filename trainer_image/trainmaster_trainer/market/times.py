"""Times of bars: one format for a whole file, never guessed cell by cell."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainmaster_trainer.errors import DataError

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


def parse_times(cells: pd.Series[str], *, name: str) -> NDArray[np.datetime64]:
    """A column of times in UTC; a time without a zone is taken for UTC.

    Raises DataError for a cell that is no time, and for a file whose day and month cannot be told apart.
    """
    if cells.str.fullmatch(r"\d{9,13}(\.0*)?").all():
        return _unix(cells)
    parsed = {each: pd.to_datetime(cells, format=each, utc=True, errors="coerce") for each in FORMATS}
    whole = [each for each, times in parsed.items() if times.notna().all()]
    if len(whole) > 1 and len({tuple(parsed[each].tolist()) for each in whole}) > 1:
        message = (
            f"{name}: column {cells.name}: {cells.iloc[0]!r} could be {' or '.join(whole)}; write times as "
            "YYYY-MM-DD HH:MM:SS"
        )
        raise DataError(message)
    if not whole:
        best = max(parsed.values(), key=lambda times: int(times.notna().sum()))
        at = int(np.asarray(best.isna()).argmax())
        message = (
            f"{name}: line {cells.index[at]}, column {cells.name}: {cells.iloc[at]!r} is no time; write times as "
            "YYYY-MM-DD HH:MM:SS"
        )
        raise DataError(message)
    return _naive(parsed[whole[0]])


def _unix(cells: pd.Series[str]) -> NDArray[np.datetime64]:
    numbers = cells.astype(float)
    unit: Any = "ms" if float(numbers.iloc[0]) >= MILLISECONDS_FROM else "s"
    return _naive(pd.Series(pd.to_datetime(numbers, unit=unit, utc=True)))


def _naive(times: pd.Series[pd.Timestamp]) -> NDArray[np.datetime64]:
    values: NDArray[np.datetime64] = times.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")
    return values
