"""What happened after a bar: the log return over the horizon, as a class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.market.dataset import UNKNOWN
from trainmaster_trainer.market.features import Floats, volatility


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """One label per bar; the label of bar t ends at bar t + horizon.

    UNKNOWN where the horizon lies beyond the last bar, or the volatility is not known yet.
    """

    classes: tuple[str, ...]
    values: NDArray[np.int64]
    horizon: int


def compute_labels(close: Floats, *, horizon: int, dead_zone: float) -> Labels:
    """Classes of r = log(close[t + horizon] / close[t]).

    `dead_zone` is in volatilities (up to bar t) of the horizon: down below minus it, up above it, flat between; with 0
    there are two classes, down (r <= 0) and up.
    """
    logs = np.log(close)
    returns = np.full(len(close), np.nan)
    if horizon < len(close):
        returns[:-horizon] = logs[horizon:] - logs[:-horizon]
    sigma = volatility(close)
    known = np.isfinite(returns) & np.isfinite(sigma)
    values = np.full(len(close), UNKNOWN, dtype=np.int64)
    if dead_zone == 0:
        values[known] = (returns[known] > 0).astype(np.int64)
        return Labels(classes=("down", "up"), values=values, horizon=horizon)
    edge = dead_zone * sigma * math.sqrt(horizon)
    values[known] = 1
    values[known & (returns < -edge)] = 0
    values[known & (returns > edge)] = 2
    return Labels(classes=("down", "flat", "up"), values=values, horizon=horizon)


def compute_all_labels(close: Floats, *, starts: tuple[int, ...], horizon: int, dead_zone: float) -> Labels:
    """The same for several instruments, whose first bars are at `starts`: no label reaches into another instrument."""
    bounds = [*starts, len(close)]
    parts = [compute_labels(close[start:end], horizon=horizon, dead_zone=dead_zone) for start, end in pairwise(bounds)]
    return Labels(classes=parts[0].classes, values=np.concatenate([part.values for part in parts]), horizon=horizon)
