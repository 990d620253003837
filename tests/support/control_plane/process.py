"""Processes that die with the one that started them, free ports, and locks that end with their holder."""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal a process gets when its parent ends."""
LIBC = ctypes.CDLL(None, use_errno=True)
PORTS = range(15_000, 32_000)
"""Below the ports that the kernel gives to outgoing connections (from 32,768): those come and go at any moment."""
TAIL_LINES = 15
"""Lines of a log that an error message quotes."""


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A program that runs until it is killed."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The end of its log."""
        return tail_of(self.log)


def tail_of(log: Path) -> str:
    """The last lines of a log; empty where there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def start_daemon(program: Path, arguments: Sequence[str], *, log: Path) -> Daemon:
    """Start a program that is killed by the kernel when the calling thread ends. Its output goes to a log."""
    parent = os.getpid()

    def die_with_parent() -> None:
        if LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0 or os.getppid() != parent:
            os._exit(1)

    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            preexec_fn=die_with_parent,  # noqa: PLW1509  # the supervisor, its caller, has one thread
        )
    return Daemon(name=program.name, process=process, log=log)


def kill_all(daemons: Sequence[Daemon]) -> None:
    """Kill and reap. Their data is thrown away, so nothing is gained by asking them to stop first."""
    for daemon in daemons:
        daemon.process.kill()
    for daemon in daemons:
        daemon.process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now. Another process may be faster: be ready to ask again."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    msg = f"no {count} free ports between {PORTS.start} and {PORTS.stop} on 127.0.0.1"
    raise OSError(msg)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's exclusive lock; waits for it. The lock ends with the process, whatever ends that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether somebody holds a lock on the file. A file that is not there is not locked."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
