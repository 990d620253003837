"""`trainmaster` as a user types it, on manifests of small custom programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from tests.support.local_mode import PATIENCE_SECONDS, wait_for

Wire: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Typed:
    """A command that was typed, and what it has printed."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    @property
    def stderr(self) -> str:
        return self.err.read_text()

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(2 * PATIENCE_SECONDS)


@dataclass
class Shell:
    """A folder with manifests and programs, and the commands that are typed in it."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def manifest(self, name: str, program: str, *arguments: str, **spec: Any) -> str:  # noqa: ANN401 - fields of spec
        """Writes a program and the manifest of a run of it; the manifest's file name."""
        (self.folder / f"{name}.py").write_text(textwrap.dedent(program))
        base: Wire = {
            "workload": "custom",
            "command": ["python", f"{name}.py", *arguments],
            "resources": {"cpu": 1},
            "terminationGracePeriodSeconds": 5,
        }
        head = {"apiVersion": "trainmaster.io/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name}}
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(head | {"spec": base | spec}))
        return f"{name}.yaml"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "trainmaster.cli.main", *words]

    def environment(self) -> dict[str, str]:
        return os.environ | {"TRAINMASTER_STATE_DIR": str(self.state)}

    def type(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Types a command and waits for its end."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    def python(self, script: str) -> subprocess.CompletedProcess[str]:
        """Runs a script in the environment of the commands."""
        command = [sys.executable, "-c", script]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False
        )

    @contextmanager
    def typing(self, *words: str) -> Iterator[Typed]:
        """A command under way; killed at the end if it still is, and nothing of its runs outlives it."""
        out, err = self.folder / "typed.out", self.folder / "typed.err"
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                self.command(*words), cwd=self.folder, env=self.environment(), stdout=stdout, stderr=stderr
            )
        try:
            yield Typed(process=process, out=out, err=err)
        finally:
            process.kill()
            process.wait()
            wait_for(lambda: not self.marked(), what="all processes of the runs to be gone")

    def object(self, name: str) -> Wire:
        """A run as it is stored."""
        stored: Wire = json.loads((self.state / "objects" / "default" / f"{name}.json").read_text())
        return stored

    def status(self, name: str) -> Wire:
        """Status of a stored run; empty before there is one."""
        try:
            status: Wire = self.object(name)["status"]
        except FileNotFoundError:
            return {}
        return status

    def records(self, name: str) -> list[Wire]:
        """The records of a run, of whatever UID, in order of their names."""
        stored = [json.loads(path.read_text()) for path in sorted((self.state / "records" / "default").glob("*.json"))]
        return [record for record in stored if record["spec"]["runName"] == name]

    def log(self, name: str) -> str:
        """Output of all launches of a run."""
        uid = self.object(name)["metadata"]["uid"]
        return "".join(path.read_text() for path in sorted((self.state / "jobs" / uid).glob("*/launcher.log")))

    def marked(self) -> list[int]:
        """PIDs of all living processes of launches in this folder's state directory."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                environment = (folder / "environ").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if str(self.state).encode() in environment and b"TRAINMASTER_LAUNCH=" in environment and state != "Z":
                found.append(int(folder.name))
        return found


def condition(status: Wire, kind: str = "Succeeded") -> Wire:
    """One condition of a status."""
    found: Wire = next(c for c in status["conditions"] if c["type"] == kind)
    return found
