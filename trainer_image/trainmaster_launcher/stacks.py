"""Where a hung process stands, as far as that can be seen: its own stack dump, and what the kernel says."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from trainmaster_launcher.process import Tail

QUIET_SECONDS: Final = 0.2
"""A dump that has grown no more for this long is complete."""
LOOK_SECONDS: Final = 0.02
STACK_LENGTH: Final = 16_000
"""Characters: a report holds it beside the last lines."""
STATUS_FIELDS: Final = ("State", "Threads", "VmRSS", "SigBlk", "voluntary_ctxt_switches")


def dump_stacks(pid: int, *, stack_signal: int | None, tail: Tail, wait: float) -> str:
    """Asks the process for its stacks, waits for them (bounded), adds the kernel's view. Raises nothing."""
    own = _ask(pid, stack_signal, tail=tail, wait=wait) if stack_signal is not None else ()
    return "\n".join([*_kernel_view(pid), *own])[:STACK_LENGTH]


def _ask(pid: int, stack_signal: int, *, tail: Tail, wait: float) -> tuple[str, ...]:
    tail.capture()
    try:
        os.kill(pid, stack_signal)
    except OSError as error:
        return (f"signal {stack_signal}: {error.strerror}",)
    deadline = time.monotonic() + wait
    grown = time.monotonic()
    seen: tuple[str, ...] = ()
    while time.monotonic() < deadline and not (seen and time.monotonic() - grown > QUIET_SECONDS):
        time.sleep(LOOK_SECONDS)
        lines = tail.captured
        if lines != seen:
            seen, grown = lines, time.monotonic()
    return seen or ("the process did not answer the stack signal",)


def _kernel_view(pid: int) -> list[str]:
    status = _read(pid, "status")
    lines = [line.replace("\t", " ") for line in status.splitlines() if line.split(":")[0] in STATUS_FIELDS]
    lines += [f"wchan: {_read(pid, 'wchan')}"]
    # Readable by root only, nearly everywhere.
    return lines + [f"kernel stack: {line}" for line in _read(pid, "stack").splitlines() if not line.startswith("-")]


def _read(pid: int, name: str) -> str:
    try:
        return (Path("/proc") / str(pid) / name).read_text()
    except OSError as error:
        return f"- ({error.strerror})"
