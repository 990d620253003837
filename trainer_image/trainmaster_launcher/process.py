"""The training process: started in its own session, tethered to the launcher, its output passed through and kept."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from trainmaster_launcher import tether
from trainmaster_launcher.errors import RetryError

KEPT_LINES: Final = 50
KEPT_LINE_LENGTH: Final = 500
"""Characters: fifty of these fit into a report ten times."""
CAPTURED_LINES: Final = 400
"""Of a stack dump: a training process has some dozens of threads."""
READ_BYTES: Final = 65_536
PUMP_SECONDS: Final = 2.0
"""For the last output to pass after the last writer is gone."""


class Tail:
    """The last lines of a process, of both streams; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._captured: list[str] | None = None
        self._last_error = ""

    def add(self, line: str, *, is_error: bool) -> None:
        """Keeps a line, cut to a bounded length."""
        with self._lock:
            self._lines.append(line[:KEPT_LINE_LENGTH])
            if is_error and line.strip():
                self._last_error = line[:KEPT_LINE_LENGTH]
            if is_error and self._captured is not None and len(self._captured) < CAPTURED_LINES:
                self._captured.append(line[:KEPT_LINE_LENGTH])

    def capture(self) -> None:
        """From now on also keeps the lines of stderr for `captured`."""
        with self._lock:
            self._captured = []

    @property
    def captured(self) -> tuple[str, ...]:
        """Lines of stderr since `capture`."""
        with self._lock:
            return tuple(self._captured or ())

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines, oldest first."""
        with self._lock:
            return tuple(self._lines)

    @property
    def last_error(self) -> str:
        """The last line on stderr that says anything."""
        with self._lock:
            return self._last_error


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process ended: an exit code, or a signal's number."""

    code: int | None = None
    signal: int | None = None


class TrainingProcess:
    """A started process. Construct it from the main thread: the tether is tied to the thread."""

    def __init__(self, argv: Sequence[str], *, environment: Mapping[str, str], keep_open: Sequence[int]) -> None:
        command = tether_command("SIGKILL", argv)
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - running the manifest's command is the launcher's purpose
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                pass_fds=tuple(keep_open),
                start_new_session=True,
            )
        except OSError as error:
            message = f"cannot start a process: {error}"
            raise RetryError(message) from error
        self.pid = self._popen.pid
        self.tail = Tail()
        self._pumps = [
            threading.Thread(target=_pump, args=(self._popen.stdout, 1, self.tail), daemon=True),
            threading.Thread(target=_pump, args=(self._popen.stderr, 2, self.tail), daemon=True),
        ]
        for pump in self._pumps:
            pump.start()

    def signal(self, number: int) -> None:
        """Sends a signal. The process cannot have been reaped by anybody else, so its id is still its own."""
        os.kill(self.pid, number)

    def reaped(self, status: int) -> Ended:
        """Takes the wait status that the launcher's reaping found."""
        code = os.waitstatus_to_exitcode(status)
        self._popen.returncode = code
        return Ended(code=code) if code >= 0 else Ended(signal=-code)

    def drain(self) -> None:
        """Waits, bounded, until all output has passed: call it when no writer is left."""
        for pump in self._pumps:
            pump.join(PUMP_SECONDS)


def tether_command(signal_name: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` so that it gets the signal when this process dies."""
    path = Path(tether.__file__)
    source = pkgutil.get_data("trainmaster_launcher", "tether.py") or b""
    # Inside a zipapp there is no file to run.
    program = [str(path)] if path.exists() else ["-c", source.decode()]
    return [sys.executable, "-I", "-S", *program, signal_name, str(os.getpid()), "--", *argv]


def _pump(stream: BinaryIO, target: int, tail: Tail) -> None:
    """Passes a stream on, unchanged, and keeps its last lines. A reader that went away stops nothing."""
    rest = b""
    with stream:
        while data := os.read(stream.fileno(), READ_BYTES):
            _write(target, data)
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[:READ_BYTES]
            for line in lines:
                tail.add(line.decode(errors="replace").rstrip("\r"), is_error=target == 2)
    if rest:
        tail.add(rest.decode(errors="replace"), is_error=target == 2)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except OSError:
            return
