"""Local mode as its user has it: the command in a process of its own, and what it leaves in the state directory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.bars import write_bars
from trainmaster.adapters.mlflow.sqlite import prepare_database

FAULTS = Path(__file__).parent / "faults"
ROWS = 600
EPOCHS = 3
TINY: dict[str, int | float | str | bool] = {
    "epochs": EPOCHS,
    "batch_size": 64,
    "learning_rate": 0.003,
    "window": 8,
    "hidden_size": 8,
    "attention_heads": 2,
    "embargo": 4,
    "seed": 11,
    "use_oversampling": False,
    "evaluation": "brief",
}
"""Hyperparameters that train in a second: six steps an epoch."""
PATIENCE_SECONDS = 90.0
"""How long a test waits for something that takes a second on a quiet machine."""


def manifest(**changes: object) -> dict[str, Any]:
    """A tiny TrainingRun of the market classifier; `changes` replace fields of its spec."""
    spec: dict[str, object] = {
        "workload": "market-classifier",
        "hyperparameters": TINY,
        "data": {"source": "pvc://data/bars.csv"},
        "resources": {"cpu": 1},
        "storage": {"everySteps": 4},
    }
    return {
        "apiVersion": "trainmaster.io/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "tiny"},
        "spec": spec | changes,
    }


@dataclass(frozen=True)
class Outcome:
    """All that must be the same, however a run was disturbed."""

    phase: str
    digest: str
    """Over all tensors of the last checkpoint: weights, moments, random states."""
    metrics: dict[str, str]
    history: tuple[tuple[str, int, float], ...]
    """MLflow's history of the metrics of epochs and of the test: name, step, value; each exactly once."""


@dataclass
class LocalMode:
    """One state directory and one manifest."""

    folder: Path
    spec: dict[str, Any] = field(default_factory=manifest)

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        data = self.state / "volumes" / "data"
        data.mkdir(parents=True, exist_ok=True)
        write_bars(data / "bars.csv", ROWS)
        shutil.copy(empty_mlflow_database(), self.state / "mlflow.db")
        self.file = self.folder / "tiny.yaml"
        self.file.write_text(yaml.safe_dump(self.spec))

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "trainmaster.cli.main", "local", "run", str(self.file),
            "--state-dir", str(self.state), "-o", "json",
        ]  # fmt: skip

    def environment(self, *, fault: str = "", sleep: float = 0) -> dict[str, str]:
        extra: dict[str, str] = {}
        if fault:
            extra |= {"FAULT": fault, "FAULT_MARK": str(self.folder / "struck")}
        if sleep:
            extra |= {"FAULT_SLEEP": str(sleep)}
        return os.environ | extra | ({"PYTHONPATH": str(FAULTS)} if extra else {})

    def run(self, *, fault: str = "", sleep: float = 0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(),
            env=self.environment(fault=fault, sleep=sleep),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    @contextmanager
    def running(self, *, sleep: float) -> Iterator[subprocess.Popen[str]]:
        """The command in a process group of its own, training so slowly that one can interfere."""
        process = subprocess.Popen(
            self.command(),
            env=self.environment(sleep=sleep),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()
            wait_for(lambda: not self.processes("trainmaster_"), what="all processes of the run to be gone")

    def object(self) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads((self.state / "objects" / "default" / "tiny.json").read_text())
        return stored

    def checkpoint_root(self) -> Path:
        run = self.object()
        return self.state / "volumes" / "checkpoints" / str(run["metadata"]["uid"]) / str(run["status"]["reruns"])

    def checkpoints(self) -> list[Path]:
        root = self.state / "volumes" / "checkpoints"
        return sorted(root.glob("*/*/*/step-*.pt"), key=lambda path: path.name)

    def processes(self, module: str) -> list[int]:
        """PIDs of the living processes of this run whose command line names the module."""
        mark = str(self.state).encode()
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                command = (folder / "cmdline").read_bytes()
                environment = (folder / "environ").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if (
                module.encode() in command
                and mark in environment
                and b"TRAINMASTER_PLAN" in environment
                and state != "Z"
            ):
                found.append(int(folder.name))
        return found

    def outcome(self) -> Outcome:
        """What came out. Imports torch, so call it late."""
        from trainmaster_trainer.checkpoint import final_state_digest  # noqa: PLC0415 - slow

        status = self.object()["status"]
        return Outcome(
            phase=status["phase"],
            digest=final_state_digest(self.checkpoint_root() / status["checkpoint"]["path"]),
            metrics=status["metrics"],
            history=mlflow_history(self.state / "mlflow.db"),
        )


def empty_mlflow_database() -> Path:
    """A database that MLflow has made, with nothing in it: fifty migrations once per test run, not once per test.

    That local mode makes one itself is shown by the tests of tracking and of sessions.
    """
    database = Path(tempfile.gettempdir()) / f"trainmaster-tests-{os.environ['TRAINMASTER_TEST_RUN']}" / "mlflow.db"
    database.parent.mkdir(exist_ok=True)
    prepare_database(database)
    return database


def mlflow_history(database: Path) -> tuple[tuple[str, int, float], ...]:
    """All points of the epochs' and the test's metrics; those of single steps hold speeds, which differ."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "select key, step, value from metrics where key not like 'train/%' order by key, step"
        )
        return tuple((str(key), int(step), float(value)) for key, step, value in rows)


def wait_for(condition: Callable[[], object], *, what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds; fails the test if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.02)
