"""What jobs and reports say, taken into status; decisions that have come true, settled."""

from __future__ import annotations

from datetime import datetime

from trainmaster.api.base import decimal_string
from trainmaster.api.conditions import DecisionKind, DecisionState
from trainmaster.api.trainingrun import CheckpointStatus, Decision, PlanStatus, Progress, TrainingRunStatus
from trainmaster.core.run.journal import open_decisions, settle
from trainmaster.core.snapshot import ObservedJob, Snapshot, TrainerState


def absorb(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> TrainingRunStatus:
    """Status that knows what the snapshot knows; launch numbers only rise, even when status was lost."""
    newest = max((job.launch for job in snapshot.jobs), default=0)
    if newest > status.launch:
        status = status.model_copy(update={"launch": newest, "launch_outcome": None})
    if snapshot.tracking is not None and snapshot.tracking != status.mlflow:
        status = status.model_copy(update={"mlflow": snapshot.tracking})
    status = _settle_launches(snapshot, status)
    job = current_job(snapshot, status)
    if job is not None and status.launch_outcome is None:
        status = _timing(job, status, now)
    if snapshot.trainer is not None and snapshot.trainer.launch == status.launch:
        status = _reports(snapshot, snapshot.trainer, status)
    return _crashes(job, snapshot.trainer, status)


def current_job(snapshot: Snapshot, status: TrainingRunStatus) -> ObservedJob | None:
    """The Job of the newest launch, if it was seen."""
    return next((job for job in snapshot.jobs if job.launch == status.launch), None)


def _settle_launches(snapshot: Snapshot, status: TrainingRunStatus) -> TrainingRunStatus:
    seen = {job.launch for job in snapshot.jobs}
    done = {d.id for d in open_decisions(status, DecisionKind.LAUNCH) if d.launch in seen}
    if snapshot.live:
        gone = seen | snapshot.stray_pods
        done |= {d.id for d in open_decisions(status, DecisionKind.END_LAUNCH) if d.launch not in gone}
        if not seen:
            done |= {d.id for d in open_decisions(status, DecisionKind.CLEAN_UP)}
    done |= {
        d.id
        for d in open_decisions(status, DecisionKind.END_LAUNCH)
        if any(job.launch == d.launch and job.finished for job in snapshot.jobs)
    }
    return settle(status, ids=frozenset(done), state=DecisionState.DONE)


def _timing(job: ObservedJob, status: TrainingRunStatus, now: datetime) -> TrainingRunStatus:
    update: dict[str, object] = {}
    if job.state == "Suspended" and status.queued_since is None:
        update["queued_since"] = now
    if job.state != "Suspended" and status.queued_since is not None:
        update["queued_since"] = None
        update["queued_seconds"] = status.queued_seconds + max(0, int((now - status.queued_since).total_seconds()))
    if job.running_since is not None and status.running_time is None:
        update["running_time"] = job.running_since
        update["start_time"] = status.start_time or job.running_since
    return status.model_copy(update=update) if update else status


def _reports(snapshot: Snapshot, trainer: TrainerState, status: TrainingRunStatus) -> TrainingRunStatus:
    update: dict[str, object] = {"progress": _progress(trainer), "metrics": _metrics(snapshot, status)}
    if trainer.checkpoint is not None:
        update["checkpoint"] = CheckpointStatus.model_validate(trainer.checkpoint.model_dump())
    status = status.model_copy(update=update)
    return _applied(trainer, status)


def _progress(trainer: TrainerState) -> Progress:
    percent, eta = 0, None
    if trainer.total_steps:
        percent = min(100, 100 * trainer.step // trainer.total_steps)
        if trainer.steps_per_second:
            eta = int((trainer.total_steps - trainer.step) / trainer.steps_per_second)
    return Progress(
        epoch=trainer.epoch,
        step=trainer.step,
        total_epochs=trainer.total_epochs,
        total_steps=trainer.total_steps,
        percent=percent,
        eta_seconds=eta,
    )


def _metrics(snapshot: Snapshot, status: TrainingRunStatus) -> dict[str, str]:
    metrics = dict(status.metrics)
    for kind in ("validation", "test"):
        newest = max((p for p in snapshot.points if p.kind == kind), key=lambda p: (p.step, p.generation), default=None)
        if newest is not None:
            metrics |= {name: decimal_string(value) for name, value in sorted(newest.metrics.items())}
    return metrics


def _applied(trainer: TrainerState, status: TrainingRunStatus) -> TrainingRunStatus:
    waiting = {d.id for d in open_decisions(status, DecisionKind.ADJUST)} & set(trainer.applied)
    if not waiting or status.plan is None:
        return status
    decisions = tuple(_mark_applied(d, trainer) if d.id in waiting else d for d in status.decisions)
    directives = tuple(
        d.model_copy(update={"at_step": trainer.applied[d.id]}) if d.id in waiting else d
        for d in status.plan.directives
    )
    plan: PlanStatus = status.plan.model_copy(update={"directives": directives})
    return status.model_copy(update={"decisions": decisions, "plan": plan})


def _mark_applied(decision: Decision, trainer: TrainerState) -> Decision:
    return decision.model_copy(update={"state": DecisionState.DONE, "applied_step": trainer.applied[decision.id]})


def _crashes(job: ObservedJob | None, trainer: TrainerState | None, status: TrainingRunStatus) -> TrainingRunStatus:
    """Crashes of the newest launch, counted once however often they are told."""
    told = [status.launch_crashes]
    if trainer is not None and trainer.launch == status.launch:
        told.append(trainer.crashes)
    if job is not None and job.message is not None and job.message.launch == status.launch:
        told.append(job.message.crashes)
    more = max(told) - status.launch_crashes
    if not more:
        return status
    return status.model_copy(update={"crashes": status.crashes + more, "launch_crashes": max(told)})
