"""Synthetic OHLCV bars for tests: deterministic, hourly, with a little that can be learnt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

HEADER = "Time,Open,High,Low,Close,Volume"
REVERSAL = -0.3
"""Share of a move that the next bar takes back: what a model can learn."""


def bar_lines(rows: int, *, seed: int = 0) -> list[str]:
    """CSV lines without the header, oldest first; a year of hours from 2020 on, then more."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 0.002, rows)
    returns = noise.copy()
    for i in range(1, rows):
        returns[i] += REVERSAL * returns[i - 1]
    close = 100 * np.exp(np.cumsum(returns))
    opened = np.r_[100.0, close[:-1]]
    wick = 1 + np.abs(rng.normal(0, 0.001, (2, rows)))
    high, low = np.maximum(opened, close) * wick[0], np.minimum(opened, close) / wick[1]
    volume = rng.lognormal(10, 0.5, rows)
    start = np.datetime64("2020-01-01T00:00:00")
    return [
        f"{start + np.timedelta64(i, 'h')},{opened[i]:.6f},{high[i]:.6f},{low[i]:.6f},{close[i]:.6f},{volume[i]:.2f}"
        for i in range(rows)
    ]


def write_bars(path: Path, rows: int, seed: int = 0) -> Path:
    """Write `rows` bars to a CSV file; the path."""
    return write_lines(path, bar_lines(rows, seed=seed))


def write_lines(path: Path, lines: Iterable[str], *, header: str = HEADER) -> Path:
    """Write a header and lines to a CSV file; the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path
