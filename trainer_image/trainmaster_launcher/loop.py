"""The main thread's one place to wait: sockets, signals, and wake-ups from the reporter."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

WAKE_BYTES: Final = 4096


class Loop:
    """A selector whose handlers run in `wait`. SIGTERM and SIGINT set `terminating_since`, nothing else."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.settimeout(0)
        self._wake_write.settimeout(0)
        self.terminating_since: float | None = None
        """When the first SIGTERM or SIGINT came, on the monotonic clock."""
        self.register(self._wake_read, selectors.EVENT_READ, self._drain_wake)
        # The kernel writes a byte per signal: `wait` returns at once, also for SIGCHLD.
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, self._terminate)

    @property
    def terminating(self) -> bool:
        """Whether the launcher was asked to end."""
        return self.terminating_since is not None

    def register(self, file: socket.socket, events: int, handler: Callable[[], None]) -> None:
        """Calls `handler` in `wait` when the socket is ready."""
        if file in self._selector.get_map():
            self._selector.modify(file, events, handler)
        else:
            self._selector.register(file, events, handler)

    def unregister(self, file: socket.socket) -> None:
        """Forgets a socket; call it before closing that."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(file)

    def wait(self, timeout: float) -> None:
        """Runs the handlers of what is ready, waiting `timeout` seconds at most for something to be."""
        for key, _ in self._selector.select(max(timeout, 0.0)):
            # A handler before it may have closed this one's socket, and a new one may have its number.
            current = self._selector.get_map().get(key.fd)
            if current is not None and current.fileobj is key.fileobj:
                key.data()

    def wake(self) -> None:
        """Makes `wait` return; from any thread."""
        with contextlib.suppress(OSError):
            self._wake_write.send(b"x")

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_read.recv(WAKE_BYTES):
                pass

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        if self.terminating_since is None:
            self.terminating_since = time.monotonic()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler at all is what makes the kernel's byte arrive."""
