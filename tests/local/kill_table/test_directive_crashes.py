"""Crashes around a directive: between its record, its application, the next checkpoint and its acknowledgement.

The real trainer under the real launcher; the operator is a scripted server, which names the directive's step and can
withhold its replies, so that each order of checkpoint and acknowledgement comes about. Whatever the order, the weights
are those of the run that nobody disturbed. (What the launcher does where no step is named: tests/local/launcher.)

Steps run from 0; the directive takes effect before step 9; checkpoints are taken after steps 8, 12, 16 and at the ends
of epochs, so the one before it knows nothing of it and the one after lists it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.bars import write_bars
from tests.support.launcher import Wire, plan_wire, start_launcher
from tests.support.local_mode import FAULTS, ROWS, TINY
from tests.support.report_server import ReportServer, Scripted
from trainmaster.api.hyperparameters import effective

AT_STEP = 9
DIRECTIVE = {"id": "d1", "kind": "Adjust", "generation": 2, "atStep": AT_STEP, "set": {"learning_rate": 0.0003}}
SLOW = "0.05"
"""Seconds per step: time for an acknowledgement to arrive before the next checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a run left."""

    digest: str
    applied: tuple[int, ...]
    """Steps at which the directive was said to be applied, once per pass over it."""
    crashes: int


def train(
    folder: Path, *, fault: str = "", withhold: bool = False, directives: tuple[Wire, ...] = (DIRECTIVE,)
) -> Trained:
    from trainmaster_trainer.checkpoint import final_state_digest  # noqa: PLC0415 - imports torch

    data = folder / "data"
    data.mkdir()
    write_bars(data / "bars.csv", ROWS)
    plan = plan_wire(
        folder / "root",
        command=[],
        workload="market-classifier",
        hyperparameters=effective("market-classifier", dict(TINY)),
        dataSource="pvc://data/bars.csv",
        volumes={"data": str(data)},
        storage={"root": str(folder / "root"), "everySteps": 4, "keepLast": 50},
        generation=2,
        directives=list(directives),
    )
    server = ReportServer(plan)
    if withhold:
        server.script = lambda report: _withhold(server, report)
    environment: dict[str, Any] = {"FAULT_SLEEP": SLOW, "PYTHONPATH": str(FAULTS)}
    if fault:
        environment |= {"FAULT": fault, "FAULT_MARK": str(folder / "struck")}
    launcher = start_launcher(plan, url=server.url, workspace=folder, **environment)
    try:
        assert launcher.wait(timeout=120) == 0, launcher.printed
    finally:
        server.close()
    checkpoint = launcher.termination["checkpoints"][-1]["path"]
    return Trained(
        digest=final_state_digest(folder / "root" / checkpoint),
        applied=tuple(entry["step"] for entry in launcher.journal("applied")),
        crashes=len(launcher.journal("crash")),
    )


def _withhold(server: ReportServer, report: Wire) -> Scripted | None:
    """No reply to anything that acknowledges, until the training process has crashed."""
    crashed = any(entry["type"] == "crash" for entry in report["entries"])
    acknowledges = any(entry["type"] == "applied" for entry in report["entries"])
    if acknowledges and not crashed and not server.of_type("crash"):
        return Scripted(status=503, headers={"Retry-After": "0"})
    return None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("undisturbed"))


def test_the_directive_changes_the_result(tmp_path: Path, undisturbed: Trained) -> None:
    assert undisturbed.applied == (AT_STEP,)
    assert train(tmp_path, directives=()).digest != undisturbed.digest


MOMENTS = {
    "before it is recorded": ("due:before:10:SIGKILL", False),
    "recorded, not applied": ("due:after:10:SIGKILL", False),
    "applied, not said": ("applied:before:1:SIGKILL", False),
    "said, no checkpoint": ("applied:after:1:SIGKILL", False),
    "acknowledged, then the checkpoint's report lost": ("checkpoint:before:4:SIGKILL", False),
    "checkpoint, not acknowledged": ("checkpoint:after:4:SIGKILL", True),
    "acknowledged, then checkpoint": ("checkpoint:after:4:SIGKILL", False),
}
"""Between which two of record, application, checkpoint and acknowledgement the process dies; and whether the last is
withheld until then."""
SAMPLE = 2


def assert_same(folder: Path, moment: str, undisturbed: Trained) -> None:
    fault, withhold = MOMENTS[moment]
    trained = train(folder, fault=fault, withhold=withhold)
    assert trained.crashes == 1
    assert set(trained.applied) == {AT_STEP}
    assert trained.digest == undisturbed.digest


@pytest.mark.parametrize("sample", range(SAMPLE))
def test_weights_are_the_same_at_sampled_moments(tmp_path: Path, undisturbed: Trained, seed: int, sample: int) -> None:
    moment = random.Random(f"{seed} directive").sample(sorted(MOMENTS), SAMPLE)[sample]
    assert_same(tmp_path, moment, undisturbed)


@pytest.mark.soak
@pytest.mark.parametrize("moment", MOMENTS)
def test_weights_are_the_same(tmp_path: Path, undisturbed: Trained, moment: str) -> None:
    assert_same(tmp_path, moment, undisturbed)
