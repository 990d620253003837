"""The run's lock: two launchers of one run never train at once, and the kernel is the witness.

The training process inherits the locked descriptor: as long as it, or anything it started, lives, the lock is held,
even when its launcher is dead.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from trainmaster_launcher.errors import RetryError
from trainmaster_launcher.loop import Loop

LOOK_SECONDS: Final = 0.1


def take_lock(path: Path, *, wait: float, loop: Loop) -> int:
    """A descriptor that holds the exclusive lock. Raises RetryError after `wait` seconds, or on SIGTERM."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"lock file {path} cannot be opened: {error.strerror}"
        raise RetryError(message) from error
    deadline = time.monotonic() + wait
    while not _locked(descriptor):
        if time.monotonic() > deadline:
            message = f"another launcher of this run, or its training process, holds {path} for {wait:g} s"
            raise RetryError(message)
        if loop.terminating:
            raise RetryError("ended by SIGTERM while waiting for the run's lock")
        loop.wait(LOOK_SECONDS)
    return descriptor


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
