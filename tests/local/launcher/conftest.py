"""A workspace per test: a report server, a storage root, training programs, launchers that never outlive the test."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.launcher import Launcher, Wire, kill_launchers, plan_wire, start_launcher
from tests.support.report_server import ReportServer


@dataclass
class Bench:
    """What a test of the launcher works with."""

    workspace: Path
    launchers: list[Launcher] = field(default_factory=list)
    servers: list[ReportServer] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The storage root of the run."""
        return self.workspace / "checkpoints" / "uid" / "0"

    def plan(self, program: str, **changes: Any) -> Wire:  # noqa: ANN401 - any field of a plan
        """A plan whose training process runs the program."""
        path = self.workspace / f"program-{abs(hash(program))}.py"
        path.write_text(textwrap.dedent(program))
        return plan_wire(self.root, command=["python", str(path)], **changes)

    def serve(self, plan: Wire, **options: Any) -> ReportServer:  # noqa: ANN401 - options of the server
        """A report server that replies with the plan."""
        server = ReportServer(plan, **options)
        self.servers.append(server)
        return server

    def start(self, plan: Wire, *, url: str, **options: Any) -> Launcher:  # noqa: ANN401 - options of the launcher
        """A launcher."""
        launcher = start_launcher(plan, url=url, workspace=self.workspace, **options)
        self.launchers.append(launcher)
        return launcher


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(workspace=tmp_path)
    yield made
    kill_launchers(made.launchers)
    for server in made.servers:
        server.close()
