"""What repeats itself in a log is said once, and then at most every minute, with how often it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

AGAIN_SECONDS: Final = 60
"""A refusal that is asked for every two seconds would be 1,800 lines an hour, all of them the same; once a minute shows
whoever looks at the last lines of a log that it still is so."""


class Repetitions:
    """Remembers what was said, for a minute."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said: dict[str, tuple[float, int]] = {}
        """By message: when it was said last, and how often it was held back since."""

    def text(self, message: str) -> str:
        """What to log of a message that is due now; empty where it was said less than a minute ago."""
        now = self._monotonic()
        said, held = self._said.get(message, (float("-inf"), 0))
        if now - said < AGAIN_SECONDS:
            self._said[message] = said, held + 1
            return ""
        # What has not come again is over: a message of its own each time must not fill the process.
        self._said = {other: entry for other, entry in self._said.items() if now - entry[0] < AGAIN_SECONDS}
        self._said[message] = now, 0
        return f"{message} (and {held} times before)" if held else message
