"""The training process's end of the socket: JSON lines both ways, without ever blocking the thread that trains.

A line goes to the kernel at once when its buffer has room, which is nearly always: it then survives a SIGKILL of this
process. Only what does not fit waits in memory, and one daemon thread sends it on and receives.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

Line = dict[str, Any]

MAX_PENDING_BYTES: Final = 8 * 1024 * 1024
"""Beyond this the launcher has not read for thousands of steps; lines that may be lost are then lost."""
RECEIVE_BYTES: Final = 65_536


class Link:
    """A connected socket and its thread. `on_line` is called from that thread with every line that arrives."""

    def __init__(self, path: str, *, on_line: Callable[[Line], None], on_close: Callable[[], None]) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._socket.settimeout(0)
        self._on_line = on_line
        self._on_close = on_close
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._condition = threading.Condition()
        self._pending = bytearray()
        self._pid = os.getpid()
        self._closed = False
        threading.Thread(target=self._run, name="trainmaster-link", daemon=True).start()

    @property
    def closed(self) -> bool:
        """Whether the launcher is gone, or `close` was called, or this is a forked child."""
        return self._closed or os.getpid() != self._pid

    def send(self, line: Line, *, expendable: bool = False) -> None:
        """Hands a line over without blocking. An expendable one is dropped when too much waits already."""
        if self.closed:
            return
        data = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._condition:
            if expendable and len(self._pending) + len(data) > MAX_PENDING_BYTES:
                return
            waiting = bool(self._pending)
            self._pending += data
            if not waiting:
                self._push()
            if self._pending:
                self._wake()

    def flush(self, timeout: float) -> bool:
        """Waits until nothing waits in memory; False after `timeout` seconds or when the launcher is gone."""
        with self._condition:
            self._condition.wait_for(lambda: not self._pending or self._closed, timeout)
            return not self._pending

    def close(self) -> None:
        """Ends the thread and the connection; what still waits in memory is lost."""
        if os.getpid() != self._pid:
            return
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            self._wake()

    def _push(self) -> None:
        """Gives the kernel what it takes. Called with the lock held."""
        try:
            while self._pending:
                del self._pending[: self._socket.send(self._pending)]
        except BlockingIOError:
            return
        except OSError:
            # The launcher is gone: this process is about to be killed, or trains on alone.
            self._closed = True
        self._condition.notify_all()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"x")
        except OSError:
            return  # a full pipe wakes the thread as well as a fuller one, a closed one has no thread any more

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        received = bytearray()
        while not self._closed:
            with self._condition:
                events = select.POLLIN | (select.POLLOUT if self._pending else 0)
            poll.register(self._socket, events)
            ready = dict(poll.poll())
            if self._wake_read in ready:
                os.read(self._wake_read, RECEIVE_BYTES)
            if ready.get(self._socket.fileno(), 0) & select.POLLOUT:
                with self._condition:
                    self._push()
            if ready.get(self._socket.fileno(), 0) & ~select.POLLOUT and not self._receive(received):
                break
        self._end()

    def _receive(self, received: bytearray) -> bool:
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        received += data
        *lines, rest = received.split(b"\n")
        received[:] = rest
        for line in lines:
            self._on_line(json.loads(line))
        return bool(data)

    def _end(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            self._socket.close()
            os.close(self._wake_read)
            # The write end stays open: a last `send` in another thread may still write to it.
        self._on_close()
