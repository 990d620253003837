"""The launcher's end of the Unix socket: connections of the training process, JSON lines both ways."""

from __future__ import annotations

import contextlib
import json
import selectors
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from trainmaster_launcher.log import log
from trainmaster_launcher.loop import Loop
from trainmaster_launcher.messages import Hello, LineError, Message, parse_line

MAX_LINE_BYTES: Final = 1024 * 1024
"""A point with 64 metrics is 10 KB; a longer line is no line of this protocol."""
RECEIVE_BYTES: Final = 65_536

Answer = Callable[[Message], "list[dict[str, Any]]"]


class Channel:
    """Listens; hands every message to `answer`, and sends back what that returns."""

    def __init__(self, loop: Loop, *, answer: Answer) -> None:
        self._loop = loop
        self._answer = answer
        self._folder = Path(tempfile.mkdtemp(prefix="trainmaster-"))
        self.path = self._folder / "socket"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.settimeout(0)
        self._connections: set[_Connection] = set()
        loop.register(self._listener, selectors.EVENT_READ, self._accept)

    def broadcast(self, line: dict[str, Any]) -> None:
        """Sends a line to every connection that said hello."""
        for connection in list(self._connections):
            if connection.greeted:
                connection.send(line)

    def drain(self) -> None:
        """Reads what dead processes left in their sockets, then closes the connections."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._accept()
        for connection in list(self._connections):
            while connection.receive():
                pass
            connection.close()

    def close(self) -> None:
        """Stops listening."""
        self.drain()
        self._loop.unregister(self._listener)
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        self._connections.add(_Connection(accepted, loop=self._loop, answer=self._answer, forget=self._forget))

    def _forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)


class _Connection:
    def __init__(
        self, accepted: socket.socket, *, loop: Loop, answer: Answer, forget: Callable[[_Connection], None]
    ) -> None:
        accepted.settimeout(0)
        self._socket = accepted
        self._loop = loop
        self._answer = answer
        self._forget = forget
        self._received = b""
        self._unsent = b""
        self.greeted = False
        loop.register(accepted, selectors.EVENT_READ, self._ready)

    def send(self, line: dict[str, Any]) -> None:
        """Sends now what the socket takes, the rest when it takes more."""
        self._unsent += json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._push()

    def receive(self) -> bool:
        """Handles one read's worth of lines; False when there is nothing more to read now."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._handle(line)
        if len(self._received) > MAX_LINE_BYTES:
            log(f"a line of over {MAX_LINE_BYTES} bytes from the training process: connection closed")
            data = b""
        if not data:
            self.close()
        return bool(data)

    def close(self) -> None:
        """Closes the connection, once."""
        if self._socket.fileno() >= 0:
            self._loop.unregister(self._socket)
            self._socket.close()
            self._forget(self)

    def _ready(self) -> None:
        self._push()
        self.receive()

    def _handle(self, line: bytes) -> None:
        try:
            message = parse_line(line)
        except LineError as error:
            log(f"line ignored: {error}")
            return
        self.greeted = self.greeted or isinstance(message, Hello)
        for answer in self._answer(message):
            self.send(answer)

    def _push(self) -> None:
        if self._socket.fileno() < 0:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass  # the loop calls again when there is room
        except OSError:
            self._unsent = b""  # the reader died; its end is seen when reading
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._loop.register(self._socket, wanted, self._ready)
