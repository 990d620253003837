"""Launchers and report servers that never outlive their test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.launcher import Launcher, Wire, kill_launchers, plan_wire, start_launcher, wait_until
from tests.support.report_operator import ReportOperator
from tests.support.stored_secret import StoredSecret
from trainmaster.shell import report_desk

TRAINS = """
import pathlib, time
from trainmaster_launcher.sdk import connect
session, step = connect(), 0
while not pathlib.Path({gate!r}).exists():
    session.progress("training", step=step)
    session.point("train", step=step, metrics={{"loss": 1 / (step + 1)}})
    step += 1
    time.sleep(0.02)
session.done()
"""
"""Trains until the test lets it end; 2,000 steps, as many as a journal keeps, take 40 s at least."""


@dataclass
class Stage:
    """What a test of launchers and the server of an operator works with."""

    folder: Path
    launchers: list[Launcher] = field(default_factory=list)
    operators: list[ReportOperator] = field(default_factory=list)

    @property
    def gate(self) -> Path:
        """Training ends when this file is there."""
        return self.folder / "gate"

    def plan(self, name: str) -> Wire:
        """The plan of a run of this name, which is its UID, too."""
        program = self.folder / "program.py"
        program.write_text(TRAINS.format(gate=str(self.gate)))
        return plan_wire(self.folder / "storage" / name, command=["python", str(program)], runUid=name)

    def operator(self, *plans: Wire, secret: StoredSecret, **options: Any) -> ReportOperator:  # noqa: ANN401 - options of the operator
        """A started operator."""
        made = ReportOperator(list(plans), secret=secret, **options)
        self.operators.append(made)
        made.start()
        return made

    def launch(self, plan: Wire, *, url: str, trust: str) -> Launcher:
        """A launcher that was given these authorities; its token is its run's UID."""
        uid = plan["runUid"]
        workspace = self.folder / f"{uid}-{len(self.launchers)}"
        workspace.mkdir()
        token = workspace / "own-token"
        token.write_text(uid)
        made = start_launcher(
            plan, url=url, workspace=workspace, TRAINMASTER_CA_PEM=trust, TRAINMASTER_TOKEN_FILE=str(token)
        )
        self.launchers.append(made)
        return made

    def assert_all_arrived(self, operator: ReportOperator, launcher: Launcher) -> None:
        """Let training have ended; all that the launcher has written down has arrived, each entry once."""
        assert launcher.wait(60) == 0, launcher.printed
        uid = json.loads(launcher.termination_log.read_bytes())["runUid"]
        steps = [point["step"] for point in launcher.journal("point")]
        assert operator.steps(uid) == steps == list(range(len(steps)))
        assert operator.verdicts(uid) == 1
        assert operator.have_seq(uid) == launcher.termination["lastSeq"]

    def wait_for_news(self, operator: ReportOperator, uid: str) -> None:
        """Wait until an entry arrives that had not before."""
        before = operator.have_seq(uid)
        wait_until(lambda: operator.have_seq(uid) > before, what=f"news of {uid}", timeout=60)


REPORT_SECONDS = 0.3
"""Between reports; no more often than the server lets a pod in the long run."""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(report_desk, "REPORT_SECONDS", REPORT_SECONDS)
    made = Stage(folder=tmp_path)
    yield made
    kill_launchers(made.launchers)
    for operator in made.operators:
        operator.close()
