"""The port to time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; never runs backwards within a process."""

    def now(self) -> datetime:
        """The time in UTC."""
