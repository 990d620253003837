"""What is left of a run when it is gone: its records, and what a run that was created again takes over from them.

The decision to record carries the record itself: the next rerun does not wait for it to be written, and nothing that
changes meanwhile, spec or status, changes what it says.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from trainmaster.api.conditions import DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.protocol import MAX_METRICS
from trainmaster.api.runrecord import MAX_ID, MAX_METRIC_NAME, MAX_PATH, MAX_WORD, RecordedCheckpoint, RunRecordSpec
from trainmaster.api.trainingrun import Decision, TrainingRun, TrainingRunStatus, spec_hash
from trainmaster.core.journal import decision_id, open_decisions, record, settle
from trainmaster.core.plan import awaits_plan
from trainmaster.core.run.outcome import Ending
from trainmaster.core.snapshot import Snapshot


def unwritten(status: TrainingRunStatus) -> frozenset[str]:
    """Names of the records that open decisions ask for; an adapter looks for these, and only these."""
    return frozenset(d.record.name for d in open_decisions(status, DecisionKind.RECORD) if d.record is not None)


def asks_for_earlier(run: TrainingRun) -> bool:
    """Whether an earlier result would be taken over: nothing was launched yet, and no rerun was asked for."""
    status = run.status
    fresh = not status.launch and not status.reruns and status.plan is None and status.phase not in Phase.TERMINAL
    return fresh and run.spec.rerun_policy == "IfChanged"


def earlier_success(run: TrainingRun, records: Iterable[RunRecordSpec]) -> RunRecordSpec | None:
    """The newest of these records that tells of a success with this name, spec and `rerun`, of another object.

    A `rerun` that the recorded run did not have is a user's wish to train again, in a new object as in an old one.
    """
    wanted = (run.metadata.name, run.spec.rerun, spec_hash(run), Phase.SUCCEEDED)
    found = [
        item
        for item in records
        if (item.run_name, item.rerun, item.spec_hash, item.outcome) == wanted and item.run_uid != run.metadata.uid
    ]
    return max(found, key=lambda item: (item.completion_time, item.run_uid), default=None)


def taken_over(earlier: RunRecordSpec) -> Ending:
    """The ending of a run that need not train, because one before it has."""
    when = earlier.completion_time.strftime("%Y-%m-%dT%H:%M:%SZ")
    message = (
        f"RunRecord {earlier.name} says that the same spec was trained under this name before, by the object with UID "
        f"{earlier.run_uid}, completed {when}; its result stands. To train again give spec.rerun another value; with "
        "spec.rerunPolicy: Always an object that is created again trains by itself"
    )
    return Ending(kind="Succeeded", reason=Reason.ALREADY_TRAINED, message=message)


def decide_record(snapshot: Snapshot, status: TrainingRunStatus, *, now: datetime) -> TrainingRunStatus:
    """Status of a run that has just ended, with the decision to record that."""
    kind, reason = DecisionKind.RECORD, status.launch_outcome or status.phase
    generation = status.plan.generation if status.plan else 1
    decision = Decision(
        id=decision_id(status, kind=kind, launch=status.launch, generation=generation, now=now),
        kind=kind,
        reason=reason,
        state=DecisionState.RECORDED,
        time=now,
        launch=status.launch,
        generation=generation,
        record=_record_of(snapshot.run, status, reason=reason, now=now),
    )
    return record(status, decision)


def settle_records(snapshot: Snapshot, status: TrainingRunStatus) -> TrainingRunStatus:
    """Status without the contents of records that are written.

    A decision that has lost its record (an older CRD prunes what it does not know) can never be carried out.
    """
    waiting = open_decisions(status, DecisionKind.RECORD)
    lost = frozenset(d.id for d in waiting if d.record is None)
    written = frozenset(d.id for d in waiting if d.record is not None and d.record.name in snapshot.recorded)
    status = settle(settle(status, ids=lost, state=DecisionState.VOID), ids=written, state=DecisionState.DONE)
    if not written:
        return status
    decisions = tuple(d.model_copy(update={"record": None}) if d.id in written else d for d in status.decisions)
    return status.model_copy(update={"decisions": decisions})


def _record_of(run: TrainingRun, status: TrainingRunStatus, *, reason: str, now: datetime) -> RunRecordSpec:
    """The record; what other people's code names or sends is cut to what the API server takes."""
    names = [name for name in sorted(status.metrics) if len(name) <= MAX_METRIC_NAME][:MAX_METRICS]
    mlflow = status.mlflow.run_id[:MAX_ID] if status.mlflow is not None else None
    return RunRecordSpec(
        run_name=run.metadata.name,
        run_uid=run.metadata.uid,
        rerun=status.observed_rerun,
        reruns=status.reruns,
        spec_hash=_trained_hash(status),
        outcome=status.phase,
        reason=reason[:MAX_WORD],
        start_time=status.start_time,
        completion_time=status.completion_time or now,
        launches=status.launch,
        crashes=status.crashes,
        disruptions=status.disruptions,
        heals=status.heals,
        active_seconds=status.active_seconds,
        metrics={name: status.metrics[name][:MAX_WORD] for name in names},
        checkpoint=_checkpoint(status),
        mlflow_run_id=mlflow,
    )


def _trained_hash(status: TrainingRunStatus) -> str:
    """The hash of what was trained: noted with the plan, for spec may be the next rerun's already."""
    return status.plan.spec_hash if status.plan is not None and not awaits_plan(status) else ""


def _checkpoint(status: TrainingRunStatus) -> RecordedCheckpoint | None:
    last = status.checkpoint
    if last is None or len(last.path) > MAX_PATH or len(last.sha256) > MAX_ID:
        return None
    return RecordedCheckpoint(path=last.path, step=last.step, sha256=last.sha256)
