"""Features of each bar, from that bar and the bars before it.

Lags count bars, not hours: a weekend is one step. Prices enter as logarithms of ratios, so that no feature carries the
level of the price.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainmaster_trainer.market.bars import Bars

Floats = NDArray[np.float64]
Allocate = Callable[[tuple[int, int]], NDArray[np.float32]]
"""An array of (rows, features) to fill."""

RETURN_LAGS: Final = (1, 2, 3, 5, 10, 20, 50)
VOLATILITY_WINDOWS: Final = (5, 20, 60)
VOLATILITY_SPAN: Final = 100
"""Span of the exponentially weighted deviation that returns and labels are measured in."""
VOLUME_WINDOW: Final = 50
VOLUME_MINIMUM: Final = 10
"""Bars with a volume that the volume's z-score needs in its window."""
RSI_WINDOW: Final = 14
MACD_SPANS: Final = (12, 26, 9)
BOLLINGER_WINDOW: Final = 20
WARM_UP: Final = max(*RETURN_LAGS, *VOLATILITY_WINDOWS)
"""Bars at the beginning that have no complete features."""
TINY_VOLATILITY: Final = 1e-8
"""Stands for the volatility of a price that has not moved: far under one tick of any market."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """One row per bar; the first WARM_UP rows of each instrument are not complete."""

    names: tuple[str, ...]
    values: NDArray[np.float32]


def volatility(close: Floats) -> Floats:
    """Exponentially weighted deviation of one-bar log returns up to each bar; NaN for the first two."""
    return pd.Series(_log_returns(close, 1)).ewm(span=VOLATILITY_SPAN).std().to_numpy(dtype=np.float64)


def compute_features(bars: Bars, *, allocate: Allocate | None = None) -> Features:
    """All features of all bars, each instrument by itself. Row t depends on bars up to t only.

    `allocate` gives the array of (rows, features) to fill, a mapped file say; one column at a time is held besides it.
    """
    names = feature_names()
    shape = (len(bars), len(names))
    values = np.empty(shape, dtype=np.float32) if allocate is None else allocate(shape)
    for part, start in zip(bars.parts(), bars.starts, strict=True):
        for position, (_, column) in enumerate(_columns(part)):
            values[start : start + len(part), position] = column
    return Features(names=names, values=values)


@lru_cache(maxsize=1)
def feature_names() -> tuple[str, ...]:
    """Names of the features, in the order of the columns."""
    few = np.ones(2)
    bars = Bars(name="", time=np.zeros(2, "datetime64[ns]"), open=few, high=few, low=few, close=few, volume=few)
    return tuple(name for name, _ in _columns(bars))


def _columns(bars: Bars) -> Iterator[tuple[str, Floats]]:
    """Name and values of each feature of one instrument, a few at a time."""
    sigma = np.maximum(volatility(bars.close), TINY_VOLATILITY)
    yield from _return_columns(bars.close, sigma)
    yield from _volatility_columns(bars.close)
    yield from _oscillator_columns(np.log(bars.close), sigma)
    yield "volume_z", _volume_z(bars.volume)
    yield from _shape_columns(bars)
    yield from _calendar_columns(bars)


def _log_returns(close: Floats, lag: int) -> Floats:
    logs = np.log(close)
    returns = np.full(len(logs), np.nan)
    returns[lag:] = logs[lag:] - logs[:-lag]
    return returns


def _return_columns(close: Floats, sigma: Floats) -> Iterator[tuple[str, Floats]]:
    for lag in RETURN_LAGS:
        yield f"return_{lag}", _log_returns(close, lag)
    for lag in RETURN_LAGS:
        yield f"return_{lag}_scaled", _log_returns(close, lag) / (sigma * math.sqrt(lag))


def _volatility_columns(close: Floats) -> Iterator[tuple[str, Floats]]:
    returns = pd.Series(_log_returns(close, 1))
    for n in VOLATILITY_WINDOWS:
        deviation = returns.rolling(n).std().to_numpy(dtype=np.float64)
        yield f"log_volatility_{n}", np.log(np.maximum(deviation, TINY_VOLATILITY))


def _oscillator_columns(close: Floats, sigma: Floats) -> Iterator[tuple[str, Floats]]:
    """RSI, MACD and Bollinger position of the log price; the last two in units of volatility."""
    series = pd.Series(close)
    yield "rsi", _rsi(series) - 0.5
    fast, slow, signal = MACD_SPANS
    macd = series.ewm(span=fast).mean() - series.ewm(span=slow).mean()
    yield "macd", macd.to_numpy(dtype=np.float64) / sigma
    histogram = macd - macd.ewm(span=signal).mean()
    yield "macd_histogram", histogram.to_numpy(dtype=np.float64) / sigma
    del macd, histogram
    middle, width = series.rolling(BOLLINGER_WINDOW).mean(), series.rolling(BOLLINGER_WINDOW).std()
    yield "bollinger", ((series - middle) / width.clip(lower=TINY_VOLATILITY)).to_numpy(dtype=np.float64)


def _rsi(series: pd.Series[float]) -> Floats:
    change = series.diff()
    gain = change.clip(lower=0).rolling(RSI_WINDOW).mean()
    loss = (-change.clip(upper=0)).rolling(RSI_WINDOW).mean()
    return (gain / (gain + loss)).where(gain + loss > 0, 0.5).to_numpy(dtype=np.float64)


def _volume_z(volume: Floats) -> Floats:
    """How unusual the log volume is; 0 where it is missing or its window holds too few."""
    known = pd.Series(np.where(volume > 0, volume, np.nan))
    logs = pd.Series(np.log(known.to_numpy(dtype=np.float64)))
    window = logs.rolling(VOLUME_WINDOW, min_periods=VOLUME_MINIMUM)
    z = (logs - window.mean()) / window.std().clip(lower=TINY_VOLATILITY)
    return z.fillna(0.0).to_numpy(dtype=np.float64)


def _shape_columns(bars: Bars) -> Iterator[tuple[str, Floats]]:
    opened, close = np.log(bars.open), np.log(bars.close)
    yield "range", np.log(bars.high) - np.log(bars.low)
    yield "body", close - opened
    gap = np.full(len(close), np.nan)
    gap[1:] = opened[1:] - close[:-1]
    yield "gap", gap
    yield "upper_shadow", np.log(bars.high) - np.maximum(opened, close)
    yield "lower_shadow", np.minimum(opened, close) - np.log(bars.low)


def _calendar_columns(bars: Bars) -> Iterator[tuple[str, Floats]]:
    """Hour of the day and day of the week, as points on a circle."""
    seconds = bars.time.astype("datetime64[s]").astype(np.int64)
    day = 2 * math.pi * (seconds % 86_400) / 86_400
    yield "hour_sine", np.sin(day)
    yield "hour_cosine", np.cos(day)
    # The epoch was a Thursday; the phase does not matter, only that it is the same every week.
    week = 2 * math.pi * (seconds // 86_400 % 7) / 7
    yield "weekday_sine", np.sin(week)
    yield "weekday_cosine", np.cos(week)
