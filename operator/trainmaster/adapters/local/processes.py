"""Launcher processes: started, identified beyond doubt, ended, and nothing of them left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Final

PROC = Path("/proc")
ENV_RUN_UID: Final = "TRAINMASTER_RUN_UID"
ENV_LAUNCH: Final = "TRAINMASTER_LAUNCH"
START_TIME_FIELD = 19
"""Index of `starttime` among the fields of /proc/PID/stat that follow the command's closing parenthesis."""

LAUNCHER = (sys.executable, "-m", "trainmaster_launcher")
TETHER = (sys.executable, "-m", "trainmaster_launcher.tether", "SIGTERM")
"""When this process dies, however, the launcher gets SIGTERM: it saves a checkpoint and ends. Nothing trains alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessId:
    """A process beyond doubt: PIDs are used again, a PID with its start time is not."""

    pid: int
    start_ticks: int

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        found = _stat(self.pid)
        return found is not None and found == (self.start_ticks, True)

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it is gone. The handle is taken before the check, so no other process is hit."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        else:
            return True
        finally:
            os.close(handle)

    async def gone(self) -> None:
        """Return when it has ended; our own child may still be a zombie then."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        try:
            if self.alive():
                loop.add_reader(handle, ended.set)
                await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)


def identify(pid: int) -> ProcessId | None:
    """The process that has this PID now."""
    found = _stat(pid)
    return ProcessId(pid=pid, start_ticks=found[0]) if found else None


def _stat(pid: int) -> tuple[int, bool] | None:
    """Start time and whether it runs."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[START_TIME_FIELD]), fields[0] not in {"Z", "X"}


def start_launcher(*, env: Mapping[str, str], log: Path, cwd: Path) -> Popen[bytes]:
    """Start a launcher in a session of its own, so that Ctrl-C in the terminal reaches this process only."""
    with log.open("ab") as output:
        return Popen(  # noqa: S603 - our own launcher, no shell, arguments fixed here
            # Our PID: a tether that starts after our death must see that it came too late.
            [*TETHER, str(os.getpid()), "--", *LAUNCHER],
            env=dict(env),
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            start_new_session=True,
        )


def strays(*, run_uid: str, launch: int) -> Iterator[ProcessId]:
    """Processes that carry a launch's mark in their environment, whoever their parent is now."""
    marks = {f"{ENV_RUN_UID}={run_uid}".encode(), f"{ENV_LAUNCH}={launch}".encode()}
    for folder in PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environment = set((folder / "environ").read_bytes().split(b"\0"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if marks <= environment and (process := identify(int(folder.name))) is not None and process.alive():
            yield process
