"""What a newer version wrote into status survives every pass of this one, as it came."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.runs import at, job_of, look, message_of, point_of, run_of, trainer_of, verdict_of
from trainmaster.api.conditions import Outcome, Phase
from trainmaster.api.trainingrun import TrainingRunStatus
from trainmaster.core import Result

RAW: dict[str, Any] = {"list": [1, 2.5, "three", None], "map": {"a": {"b": True}}, "text": "1e400"}
MOMENT = "2026-03-01T12:00:00Z"
WIRE: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Running",
    "launch": 1,
    "launchTime": MOMENT,
    "startTime": MOMENT,
    "runningTime": MOMENT,
    "future": RAW,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Running",
            "lastTransitionTime": MOMENT,
            "observedGeneration": 1,
            "future": RAW,
        },
        {"type": "Foreseen", "status": "Unknown", "reason": "Later", "lastTransitionTime": MOMENT, "future": RAW},
    ],
    "plan": {
        "generation": 1,
        "baseGeneration": 1,
        "hyperparameters": {"learning_rate": "0.001"},
        "future": RAW,
    },
    "attempts": [{"number": 1, "cause": "FirstLaunch", "startTime": MOMENT, "launch": 1, "future": RAW}],
    "decisions": [
        {
            "id": "x-0",
            "kind": "Teleport",
            "reason": "R",
            "state": "Recorded",
            "time": MOMENT,
            "launch": 1,
            "future": RAW,
        },
        {"id": "x-1", "kind": "Launch", "reason": "R", "state": "Acting", "time": MOMENT, "launch": 1, "future": RAW},
        {"id": "x-2", "kind": "Launch", "reason": "R", "state": "Done", "time": MOMENT, "launch": 1, "future": RAW},
    ],
    "progress": {"epoch": 1, "step": 5, "percent": 5, "future": RAW},
    "health": {"problems": [], "future": RAW},
    "checkpoint": {"path": "1/c", "step": 5, "epoch": 0, "sha256": "ab", "sizeBytes": 9, "future": RAW},
    "mlflow": {"experimentId": "1", "runId": "2", "future": RAW},
}
STATUS = TrainingRunStatus.model_validate(WIRE)
SAME_CHECKPOINT = STATUS.checkpoint


def running() -> Result:
    trainer = trainer_of(step=6, checkpoint=SAME_CHECKPOINT)
    return look(run_of(status=STATUS), job_of(), trainer=trainer, points=(point_of(6, grad_norm=1e9),))


def finishing() -> Result:
    return look(run_of(status=STATUS), job_of("Complete", message=message_of(verdict_of(Outcome.COMPLETED))))


def relaunching() -> Result:
    return look(run_of(status=STATUS), job_of("Failed", exit_code=75), now=at(100))


def suspending() -> Result:
    return look(run_of(status=STATUS, suspend=True), job_of())


def suspended() -> Result:
    return look(run_of(status=suspending().status, suspend=True))


STORIES = [running, finishing, relaunching, suspending, suspended]


@pytest.mark.parametrize("story", STORIES)
def test_unknown_fields_survive_wherever_they_are(story: Any) -> None:  # noqa: ANN401  # one of STORIES
    wire = story().status.to_wire()
    assert wire != WIRE, "the story does change something"
    assert wire["future"] == RAW
    for part in ("plan", "progress", "health", "checkpoint", "mlflow"):
        assert wire[part]["future"] == RAW, part
    assert wire["attempts"][0]["future"] == RAW
    assert [c["future"] for c in wire["conditions"] if c["type"] in {"Ready", "Foreseen"}] == [RAW, RAW]


@pytest.mark.parametrize("story", STORIES)
def test_unknown_kinds_and_states_of_decisions_are_left_alone(story: Any) -> None:  # noqa: ANN401  # one of STORIES
    decisions = story().status.to_wire()["decisions"]
    assert [{k: d[k] for k in w} for d, w in zip(decisions, WIRE["decisions"], strict=False)] == WIRE["decisions"]


def test_a_rerun_begins_with_fresh_counters_and_keeps_what_it_does_not_know() -> None:
    over = TrainingRunStatus.model_validate(finishing().status.to_wire())
    wire = look(run_of(status=over, rerun="again")).status.to_wire()
    assert wire["future"] == RAW
    assert [d["id"] for d in wire["decisions"][:3]] == ["x-0", "x-1", "x-2"]
    assert wire["decisions"][0]["state"] == "Recorded"
    assert wire["attempts"][0]["future"] == RAW


def test_another_checkpoint_does_not_inherit_what_was_said_of_the_last() -> None:
    assert SAME_CHECKPOINT is not None
    newer = SAME_CHECKPOINT.model_copy(update={"path": "1/d"})
    plain = type(newer).model_validate({k: v for k, v in newer.model_dump().items() if k != "future"})
    status = look(run_of(status=STATUS), job_of(), trainer=trainer_of(checkpoint=plain)).status
    assert "future" not in status.to_wire()["checkpoint"]


def test_a_phase_of_a_newer_version_is_not_taken_for_an_end() -> None:
    status = STATUS.model_copy(update={"phase": "Promoting"})
    assert look(run_of(status=status), job_of()).status.phase == Phase.RUNNING
