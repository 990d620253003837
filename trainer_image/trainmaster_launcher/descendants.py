"""Everything that a training process left running: found in /proc, ended, reaped.

The launcher is a child subreaper: whatever loses its parent becomes its child, also what called setsid. So all
descendants of the launcher are leftovers of training processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from trainmaster_launcher.errors import RetryError

PR_SET_CHILD_SUBREAPER: Final = 36
LOOK_SECONDS: Final = 0.02
PROC: Final = Path("/proc")


def become_subreaper() -> None:
    """Makes orphans below this process its children. Raises RetryError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        message = f"prctl(PR_SET_CHILD_SUBREAPER) failed: {os.strerror(ctypes.get_errno())}"
        raise RetryError(message)


def below(root: int, parents: dict[int, int]) -> set[int]:
    """All processes below `root`, given each process's parent."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent in parents.items():
        children[parent].append(pid)
    found: set[int] = set()
    stack = [root]
    while stack:
        for child in children[stack.pop()]:
            if child not in found:
                found.add(child)
                stack.append(child)
    return found


def living_descendants() -> set[int]:
    """Process ids below the launcher that are more than zombies."""
    parents = {}
    zombies = set()
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            # "pid (name) state parent ...": the name may hold spaces and parentheses.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            parents[int(entry.name)] = int(parent)
            if state in {"Z", "X"}:
                zombies.add(int(entry.name))
    return below(os.getpid(), parents) - zombies


def reap() -> dict[int, int]:
    """The wait statuses of all children that have ended."""
    statuses: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return statuses
        if pid == 0:
            return statuses
        statuses[pid] = status


def end_descendants(*, terminate_wait: float, kill_wait: float) -> None:
    """SIGTERM, then SIGKILL, until nothing is left. Raises RetryError when something cannot be ended."""
    if _ended_within(terminate_wait, signal.SIGTERM) or _ended_within(kill_wait, signal.SIGKILL):
        return
    left = sorted(living_descendants())
    message = f"processes {left} do not end, stuck in the kernel: only a new pod can train safely"
    raise RetryError(message)


def _ended_within(seconds: float, number: signal.Signals) -> bool:
    deadline = time.monotonic() + seconds
    asked: set[int] = set()
    while left := living_descendants():
        for pid in left - asked if number == signal.SIGTERM else left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        asked |= left
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
        reap()
    reap()
    return True
