"""SIGTERM and Ctrl-C set a flag; the engine looks at it between steps, where a checkpoint is possible."""

from __future__ import annotations

import signal
from types import FrameType


class Interruption:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on; the main thread must call it."""
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True
