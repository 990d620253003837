"""The process that holds the node's namespaces: whatever runs in them ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane.process import tail_of
from tests.support.launcher import wait_until
from tests.support.node.folders import Folders

HERE = Path(__file__).parent
START_SECONDS = 30.0
"""For a few mounts; a busy machine takes seconds."""
END_SECONDS = 60.0
"""For the kernel to end every process of a namespace and let go of its mounts."""
START_TIME_FIELD = 22
"""Of /proc/PID/stat, counted from 1: with the PID it names one process for ever."""
NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc")
TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of the daemons: Debian's, whatever the caller has before them."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that cannot be mistaken for a later one with its PID."""

    pid: int
    started: int
    """In clock ticks since the machine started."""

    @property
    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        state, started = _stat(self.pid)
        return state not in {"", "Z", "X"} and started == self.started

    def kill(self) -> None:
        """SIGKILL, to this process only."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)


def process(pid: int) -> Process:
    """The process that has a PID now."""
    return Process(pid=pid, started=_stat(pid)[1])


def _stat(pid: int) -> tuple[str, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    # The first two fields, PID and name, end at the parenthesis.
    return fields[0], int(fields[START_TIME_FIELD - 3])


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The namespaces of a node."""

    outer: Process
    """unshare, outside."""
    init: Process
    """The first process inside."""

    @property
    def alive(self) -> bool:
        return self.init.alive

    def inside(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces and wait for it.

        Raises:
            AssertionError: it failed and `check` is set; with what it printed.
        """
        done = subprocess.run(
            [*self._enter(), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": TOOLS},
        )
        if check and done.returncode != 0:
            msg = f"in the node: {' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        return done

    def launch(self, name: str, command: Sequence[str], folders: Folders) -> None:
        """Start a daemon as an orphan of the namespaces; returns when it has a PID."""
        pid_file = folders.pids / name
        pid_file.unlink(missing_ok=True)
        log = folders.logs / f"{name}.log"
        self.inside("setsid", "--fork", str(HERE / "daemon.sh"), str(pid_file), str(log), *command)
        wait_until(pid_file.exists, what=f"the PID of {name}", timeout=START_SECONDS)

    def runs(self, name: str, folders: Folders) -> bool:
        """Whether a daemon that was started lives."""
        number = (folders.pids / name).read_text().strip()
        return self.alive and Path(f"/proc/{self.init.pid}/root/proc/{number}").exists()

    def signal(self, name: str, number: signal.Signals, folders: Folders) -> None:
        """Send a daemon a signal."""
        self.inside("kill", f"-{number.value}", (folders.pids / name).read_text().strip())

    def end(self) -> None:
        """Kill the first process, and with it all others; returns when both are gone."""
        self.init.kill()
        self.outer.kill()
        for each in (self.init, self.outer):
            wait_until(lambda each=each: not each.alive, what=f"the end of process {each.pid}", timeout=END_SECONDS)  # type: ignore[misc]  # a default argument binds the loop's variable

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.init.pid}", "--mount", "--pid", "--net", "--uts", "--ipc", "--"]

    def to_wire(self) -> dict[str, int]:
        return {
            "outer": self.outer.pid,
            "outerStarted": self.outer.started,
            "init": self.init.pid,
            "initStarted": self.init.started,
        }


def read_holder(folders: Folders) -> Holder | None:
    """The holder that the folder tells of, alive or not; None where it tells of none."""
    if not folders.holder.exists():
        return None
    wire = json.loads(folders.holder.read_text())
    return Holder(
        outer=Process(pid=wire["outer"], started=wire["outerStarted"]),
        init=Process(pid=wire["init"], started=wire["initStarted"]),
    )


def start_holder(folders: Folders) -> Holder:
    """Make the namespaces; returns when their mounts are there. They outlive the caller.

    Raises:
        AssertionError: they could not be made; with what was said.
    """
    log = folders.logs / "holder.log"
    with log.open("ab") as output:
        outer = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", str(HERE / "init.sh"), str(folders.run)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={"PATH": TOOLS},
        )

    def has_come() -> bool:
        if outer.poll() is not None:
            msg = f"no namespaces: unshare ended with exit code {outer.returncode}:\n{tail_of(log)}"
            raise AssertionError(msg)
        return (folders.run / "init.ready").exists()

    try:
        wait_until(has_come, what="the node's namespaces", timeout=START_SECONDS)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        holder = Holder(outer=process(outer.pid), init=process(int(children[0])))
        folders.holder.write_text(json.dumps(holder.to_wire()))
    except BaseException:
        outer.kill()
        raise
    return holder
