"""The progress of a training on one line: `Training: 100% 1/1 [06:36, train_loss=0.69, val_loss=0.68, ...]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Final, TextIO

REDRAW_SECONDS: Final = 0.5
"""Between two drawings on a terminal: fast enough to look alive, too slow to cost anything."""
_NO_METRICS: Final[Mapping[str, float]] = {}


def progress_line(*, done: int, total: int, share: float, seconds: float, metrics: Mapping[str, float]) -> str:
    """The line; `share` is how much of the training is done, 0 to 1, and `done` of `total` are whole epochs."""
    values = "".join(f", {name}={value:.4g}" for name, value in metrics.items())
    return f"Training: {int(100 * min(max(share, 0.0), 1.0)):>3}% {done}/{total} [{clock(seconds)}{values}]"


def clock(seconds: float) -> str:
    """`06:36`, or `1:06:36` from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


class ProgressLine:
    """Draws the line over itself on a terminal; elsewhere writes one line for each epoch."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._began = time.monotonic()
        self._drawn_at = float("-inf")
        self._drawn = ""

    def step(self, *, done: int, total: int, share: float, metrics: Mapping[str, float] = _NO_METRICS) -> None:
        """Somewhere within an epoch."""
        if self._terminal and time.monotonic() - self._drawn_at >= REDRAW_SECONDS:
            self._draw(done=done, total=total, share=share, metrics=metrics)

    def epoch(self, *, done: int, total: int, share: float, metrics: Mapping[str, float]) -> None:
        """An epoch has ended."""
        self._draw(done=done, total=total, share=share, metrics=metrics)
        if not self._terminal:
            self._stream.write("\n")

    def close(self) -> None:
        """Leave the last line standing."""
        if self._terminal and self._drawn:
            self._stream.write("\n")
            self._stream.flush()

    def _draw(self, *, done: int, total: int, share: float, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        line = progress_line(done=done, total=total, share=share, seconds=now - self._began, metrics=metrics)
        over = f"\r{line:<{len(self._drawn)}}" if self._terminal else line
        self._stream.write(over)
        self._stream.flush()
        self._drawn, self._drawn_at = line, now
