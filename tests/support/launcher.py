"""Starts real launchers with short timings, and gives them plans and small training programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Wire = dict[str, Any]

RUNNER = """
import sys
from trainmaster_launcher.main import run
from trainmaster_launcher.timings import Timings
sys.exit(run(Timings(**{timings!r})))
"""
SHORT = {
    "tick": 0.05,
    "lock_wait": 1.0,
    "storage_wait": 1.5,
    "storage_retry": 0.1,
    "report_gap": 0.02,
    "backoff_first": 0.1,
    "backoff_last": 0.4,
    "refused_retry": 0.2,
    "lease_wait": 1.0,
    "terminate_wait": 0.5,
    "flush": 2.0,
}
"""Timings for tests; the real ones differ in nothing but these."""


def plan_wire(root: Path, *, command: list[str], **changes: Any) -> Wire:  # noqa: ANN401 - any field of a plan
    """A plan of workload `custom`; keyword arguments replace its fields."""
    limits = dict.fromkeys(("starting", "training", "validating", "checkpointing", "testing"), 60.0)
    plan: Wire = {
        "protocol": 1,
        "runUid": "11111111-2222-3333-4444-555555555555",
        "namespace": "default",
        "name": "run",
        "launch": 1,
        "generation": 1,
        "baseGeneration": 1,
        "workload": "custom",
        "command": command,
        "hyperparameters": {},
        "directives": [],
        "storage": {"root": str(root)},
        "cpus": 1,
        "restartLease": 3,
        "hangLimits": limits,
        "terminationGraceSeconds": 20,
    }
    return plan | changes


@dataclass
class Launcher:
    """One launcher process and what it leaves."""

    process: subprocess.Popen[str]
    folder: Path
    output: Path
    termination_log: Path
    children: list[int] = field(default_factory=list)

    def wait(self, timeout: float = 30.0) -> int:
        """Its exit code."""
        return self.process.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    @property
    def printed(self) -> str:
        """What it and its training processes wrote."""
        return self.output.read_text()

    @property
    def termination(self) -> Wire:
        """Its last word."""
        message: Wire = json.loads(self.termination_log.read_bytes())
        return message

    def journal(self, entry_type: str) -> list[Wire]:
        """Entries of a type in its journal file."""
        lines = [json.loads(line) for line in (self.folder / "journal.jsonl").read_text().splitlines()]
        return [line for line in lines if line["type"] == entry_type]


def start_launcher(
    plan: Wire,
    *,
    url: str,
    workspace: Path,
    timings: dict[str, float] | None = None,
    program: list[str] | None = None,
    **environment: str,
) -> Launcher:
    """Starts a launcher; `program` replaces the usual one (a zipapp, or the module with its real timings)."""
    output = workspace / f"output-{plan['launch']}-{time.monotonic_ns()}"
    termination_log = workspace / f"termination-{plan['launch']}"
    token = workspace / "token"
    token.write_text("secret\n")
    runner = program or [sys.executable, "-c", RUNNER.format(timings=SHORT | (timings or {}))]
    variables = {
        "TRAINMASTER_PLAN": json.dumps(plan),
        "TRAINMASTER_REPORT_URL": url,
        "TRAINMASTER_TOKEN_FILE": str(token),
        "TRAINMASTER_TERMINATION_LOG": str(termination_log),
    }
    with output.open("w") as file:
        process = subprocess.Popen(
            runner, env=dict(os.environ) | variables | environment, stdout=file, stderr=file, text=True
        )
    folder = Path(plan["storage"]["root"]) / str(plan["launch"])
    return Launcher(process=process, folder=folder, output=output, termination_log=termination_log)


def kill_launchers(launchers: Iterable[Launcher]) -> None:
    """End those that still live."""
    for launcher in launchers:
        if launcher.process.poll() is None:
            os.kill(launcher.process.pid, signal.SIGKILL)
            launcher.process.wait()


def wait_until(condition: Callable[[], bool], *, what: str, timeout: float = 20.0) -> None:
    """Waits for a condition. Raises AssertionError, saying what was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            message = f"{what} did not come within {timeout:g} s"
            raise AssertionError(message)
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs: exists and is no zombie."""
    try:
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
