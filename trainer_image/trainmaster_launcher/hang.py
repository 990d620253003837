"""Hang detection: silence beyond the limit of the phase.

Silence is the time that the launcher itself was awake since the process last showed progress: each look adds what
passed since the look before, but no more than `MOST_PER_LOOK` of it. So a launcher that was stopped, or a machine that
was suspended, does not take its own sleep for the process's silence; the wall clock plays no part.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final

MOST_PER_LOOK: Final = 2.0
"""Seconds; looks are half a second apart: a launcher that is later than this was not running."""
LIMIT_OF_PHASE: Final = {"stopping": "checkpointing", "done": "checkpointing"}
"""Phases without a limit of their own, and whose they use: the last thing to do is to save."""


class Silence:
    """How long a process has shown no progress. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._mark: Hashable = None
        self._last_look: float | None = None
        self.seconds = 0.0

    def progress(self, mark: Hashable) -> bool:
        """Takes a sign of life; only one that differs from the last is progress."""
        if mark == self._mark:
            return False
        self._mark = mark
        self.seconds = 0.0
        return True

    def look(self, now: float) -> float:
        """The silence at `now`."""
        if self._last_look is not None:
            self.seconds += min(max(now - self._last_look, 0.0), MOST_PER_LOOK)
        self._last_look = now
        return self.seconds


def exceeded_limit(*, speaks: bool, phase: str, silence: float, limits: Mapping[str, float]) -> float | None:
    """The limit that the silence exceeds; None if there is no hang.

    A process that never said hello is never judged: nobody knows what progress would look like.
    """
    limit = limits[LIMIT_OF_PHASE.get(phase, phase)]
    return limit if speaks and silence > limit else None
