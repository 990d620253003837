"""The process that a plane lives in: `python -m tests.support.control_plane.supervisor FOLDER`.

It says `ready` on its standard output, or what went wrong, closes it, and ends when the folder's last user is gone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.support.control_plane.build import find_programs
from tests.support.control_plane.plane import READY, Layout, PlaneError
from tests.support.control_plane.process import locked
from tests.support.control_plane.programs import Programs


def supervise(folder: Path) -> None:
    """Start a plane, keep it up while it has users, and remove every trace of it."""
    layout = Layout(folder=folder)
    with locked(layout.supervisor):
        programs = Programs(folder=folder, binaries=find_programs())
        try:
            layout.write(programs.start())
            print(READY, flush=True)  # noqa: T201  # the answer to whoever started this process
            _let_go_of_output(layout.logs / "supervisor.log")
            _wait_for_last_user(layout.users)
        finally:
            programs.stop()
            shutil.rmtree(folder, ignore_errors=True)


def _let_go_of_output(log: Path) -> None:
    """A pipe that stays open would keep its reader, and theirs, from seeing the end."""
    with log.open("ab") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())


def _wait_for_last_user(users: Path) -> None:
    with users.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Run as a program. SIGTERM ends it as the last user's leaving does."""
    signal.signal(signal.SIGTERM, _end)
    try:
        supervise(Path(sys.argv[1]))
    except PlaneError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
