"""Short words for the parts of a snapshot: runs, Jobs, trainers, points."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from trainmaster.api.conditions import DecisionKind, DecisionState, Outcome, Phase
from trainmaster.api.labels import job_name
from trainmaster.api.objects import ObjectMeta
from trainmaster.api.protocol import TerminationMessage, Verdict
from trainmaster.api.runrecord import RunRecordSpec
from trainmaster.api.trainingrun import (
    Decision,
    PlanStatus,
    TrainingRun,
    TrainingRunSpec,
    TrainingRunStatus,
    spec_hash,
)
from trainmaster.core import Result, Snapshot, decide
from trainmaster.core.series import Point
from trainmaster.core.snapshot import JobState, ObservedJob, TrainerState

Field: TypeAlias = Any
"""A field of whatever a builder makes; the model itself judges it."""
UID = "0c9a1f7e-1111-2222-3333-444455556666"
T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "workload": "market-classifier",
    "data": {"source": "package://bars/eurusd.csv"},
    "hyperparameters": {"learning_rate": 0.001, "epochs": 3},
}
PLAN = PlanStatus(generation=1, base_generation=1, hyperparameters={"learning_rate": "0.001", "epochs": "3"})


def at(seconds: float) -> datetime:
    """A moment, in seconds after the beginning of a test's story."""
    return T0 + timedelta(seconds=seconds)


def run_of(
    *, status: TrainingRunStatus | None = None, meta: dict[str, Any] | None = None, **spec: Field
) -> TrainingRun:
    """A run with these fields in its spec, over those of a small market run."""
    metadata = ObjectMeta.model_validate({"name": "market", "uid": UID} | (meta or {}))
    return TrainingRun(
        metadata=metadata,
        spec=TrainingRunSpec.model_validate(SPEC | spec),
        status=status if status is not None else TrainingRunStatus(),
    )


def status_of(**fields: Field) -> TrainingRunStatus:
    """Status of a run whose first launch lives, with these fields changed."""
    base: dict[str, Any] = {"observed_generation": 1, "launch": 1, "launch_time": T0, "plan": PLAN}
    return TrainingRunStatus().model_copy(update=base | fields)


def decision_of(kind: str, *, launch: int = 1, state: str = DecisionState.RECORDED, **fields: Field) -> Decision:
    """A decision of this kind, open unless told otherwise."""
    base: dict[str, Any] = {"id": f"{kind}-{launch}", "reason": "Because", "time": T0}
    return Decision(**(base | fields), kind=kind, launch=launch, state=state)


def launch_open(launch: int = 1) -> Decision:
    """An open decision to launch."""
    return decision_of(DecisionKind.LAUNCH, launch=launch)


def job_of(state: JobState = "Running", *, launch: int = 1, **fields: Field) -> ObservedJob:
    """A Job of the run; one that runs has a pod."""
    base: dict[str, Any] = {
        "name": job_name("market", uid=UID, launch=launch),
        "uid": f"job-{launch}",
        "run_uid": UID,
        "live_pods": int(state == "Running"),
        "running_since": T0 if state in {"Running", "Complete", "Failed"} else None,
    }
    return ObservedJob(**(base | fields), launch=launch, state=state)


def verdict_of(outcome: str = Outcome.COMPLETED, *, reason: str = "", message: str = "said so") -> Verdict:
    """A launcher's verdict."""
    return Verdict(outcome=outcome, reason=reason or outcome, message=message)


def message_of(verdict: Verdict, *, launch: int = 1, crashes: int = 0) -> TerminationMessage:
    """A launcher's last words."""
    return TerminationMessage(
        run_uid=UID, launch=launch, generation=1, last_seq=1, step=1, verdict=verdict, crashes=crashes
    )


def trainer_of(*, launch: int = 1, **fields: Field) -> TrainerState:
    """What the launcher of one launch has reported."""
    base: dict[str, Any] = {"generation": 1, "phase": "training", "step": 10, "total_steps": 100}
    return TrainerState(**(base | fields), launch=launch)


def point_of(step: int, *, generation: int = 1, kind: str = "train", **metrics: float) -> Point:
    """A point of the series."""
    return Point(generation=generation, kind=kind, step=step, time=T0, metrics=metrics)


def record_of(**fields: Field) -> RunRecordSpec:
    """A record of the run's success, of the spec of `run_of()`."""
    base: dict[str, Any] = {
        "run_name": "market",
        "run_uid": UID,
        "spec_hash": spec_hash(run_of()),
        "outcome": Phase.SUCCEEDED,
        "reason": Outcome.COMPLETED,
        "completion_time": T0,
        "metrics": {"val_loss": "0.25"},
    }
    return RunRecordSpec(**(base | fields))


def look(run: TrainingRun, *jobs: ObservedJob, now: datetime = T0, live: bool = True, **fields: Field) -> Result:
    """The decision about a run with these Jobs; from a live look unless told otherwise."""
    return decide(Snapshot(run=run, jobs=jobs, live=live, **fields), now)


def states(status: TrainingRunStatus) -> list[tuple[str, int, str]]:
    """Kind, launch and state of each decision."""
    return [(d.kind, d.launch, d.state) for d in status.decisions]


def conditions_of(status: TrainingRunStatus) -> dict[str, str]:
    """Status of each condition, by type."""
    return {c.type: c.status for c in status.conditions}
