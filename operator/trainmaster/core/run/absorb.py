"""What jobs and reports say, taken into status; decisions that have come true, settled."""

from __future__ import annotations

from datetime import datetime

from trainmaster.api.base import decimal_string
from trainmaster.api.conditions import DecisionKind, DecisionState, Outcome, Phase
from trainmaster.api.protocol import CheckpointManifest, TerminationMessage
from trainmaster.api.trainingrun import CheckpointStatus, Decision, PlanStatus, Progress, TrainingRunStatus
from trainmaster.core.journal import open_decisions, settle
from trainmaster.core.plan import awaits_plan
from trainmaster.core.run.deadlines import seconds_between
from trainmaster.core.run.records import settle_records
from trainmaster.core.run.words import cut
from trainmaster.core.snapshot import ObservedJob, Snapshot, TrainerState


def absorb(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> TrainingRunStatus:
    """Status that knows what the snapshot knows."""
    status = _catch_up(snapshot, status, now)
    status = settle_records(snapshot, _settle_launches(snapshot, status))
    job = current_job(snapshot, status)
    if job is not None and status.launch_outcome is None:
        status = _timing(job, status, now)
    if awaits_plan(status):
        return status
    if snapshot.tracking is not None and snapshot.tracking != status.mlflow:
        status = status.model_copy(update={"mlflow": snapshot.tracking})
    trainer = snapshot.trainer
    if trainer is not None and trainer.launch == status.launch:
        status = _reports(snapshot, trainer, status)
    if job is not None and job.message is not None and job.message.launch == status.launch:
        status = _last_word(job.message, status)
    return _crashes(job, trainer, status)


def current_job(snapshot: Snapshot, status: TrainingRunStatus) -> ObservedJob | None:
    """The Job of the newest launch, if it was seen."""
    return next((job for job in snapshot.own_jobs if job.launch == status.launch), None)


def new_launch(number: int, now: datetime) -> dict[str, object]:
    """The fields of status that tell of one launch, at its beginning."""
    return {
        "launch": number,
        "launch_time": now,
        "launch_outcome": None,
        "launch_end_message": "",
        "launch_crashes": 0,
        "launch_node": "",
        "running_time": None,
        "queued_seconds": 0,
        "queued_since": None,
    }


def _witnessed(snapshot: Snapshot) -> frozenset[int]:
    """Launches that something shows to have been opened: a Job, pods, or reports."""
    reporting = {snapshot.trainer.launch} if snapshot.trainer is not None else set()
    return frozenset({job.launch for job in snapshot.own_jobs} | snapshot.stray_pods | reporting)


def _catch_up(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> TrainingRunStatus:
    """Launches and generations only rise, even when status was lost, or restored from an old copy."""
    newest = max(_witnessed(snapshot), default=0)
    if newest > status.launch:
        # A finished run stays finished: what lives of it beyond its status is a stray.
        outcome = status.launch_outcome if status.phase in Phase.TERMINAL else None
        update = new_launch(newest, now) | {"launch_outcome": outcome}
        status = status.model_copy(update=update)
    trainer, plan = snapshot.trainer, status.plan
    if trainer is None or plan is None or awaits_plan(status) or trainer.generation <= plan.generation:
        return status
    return status.model_copy(update={"plan": plan.model_copy(update={"generation": trainer.generation})})


def _settle_launches(snapshot: Snapshot, status: TrainingRunStatus) -> TrainingRunStatus:
    witnessed = _witnessed(snapshot)
    launches = open_decisions(status, DecisionKind.LAUNCH)
    done = {d.id for d in launches if d.launch in witnessed} | _ended(snapshot, status)
    overtaken = {d.id for d in launches if d.launch < status.launch} - done
    status = settle(status, ids=frozenset(overtaken), state=DecisionState.VOID)
    return settle(status, ids=frozenset(done), state=DecisionState.DONE)


def _ended(snapshot: Snapshot, status: TrainingRunStatus) -> set[str]:
    """Decisions to end or to clean up that have come true; only a look at the server proves that a Job is gone."""
    finished = {job.launch for job in snapshot.own_jobs if job.finished}
    ends = open_decisions(status, DecisionKind.END_LAUNCH)
    done = {d.id for d in ends if d.launch in finished}
    if not snapshot.live:
        return done
    left = {job.launch for job in snapshot.own_jobs}
    done |= {d.id for d in ends if d.launch not in left | snapshot.stray_pods}
    clean_ups = open_decisions(status, DecisionKind.CLEAN_UP)
    return done | {d.id for d in clean_ups if not any(launch <= d.launch for launch in left)}


def is_unproven(snapshot: Snapshot, status: TrainingRunStatus) -> bool:
    """Whether an open decision seems to have come true, but only in a cache."""
    left = {job.launch for job in snapshot.own_jobs} | snapshot.stray_pods
    ends = any(d.launch not in left for d in open_decisions(status, DecisionKind.END_LAUNCH))
    clean_ups = open_decisions(status, DecisionKind.CLEAN_UP)
    clean = any(not any(launch <= d.launch for launch in left) for d in clean_ups)
    return not snapshot.live and (ends or clean)


def _timing(job: ObservedJob, status: TrainingRunStatus, now: datetime) -> TrainingRunStatus:
    if job.state == "Suspended":
        return status if status.queued_since is not None else _queue(status, now)
    update: dict[str, object] = {}
    if status.queued_since is not None:
        update["queued_since"] = None
        update["queued_seconds"] = status.queued_seconds + seconds_between(status.queued_since, now)
    if job.running_since is not None and status.running_time is None:
        # What ran before it was queued is in `active_seconds` already.
        since = max(job.running_since, status.queued_since or job.running_since)
        update["running_time"] = since
        update["launch_node"] = job.node
        update["start_time"] = status.start_time or since
    return status.model_copy(update=update) if update else status


def _queue(status: TrainingRunStatus, now: datetime) -> TrainingRunStatus:
    """The launch is held in a queue from now on; what it ran before, if it did, is no waiting for a pod either."""
    ran = seconds_between(status.running_time, now)
    update = {
        "queued_since": now,
        "queued_seconds": status.queued_seconds + ran,
        "active_seconds": status.active_seconds + ran,
        "running_time": None,
    }
    return status.model_copy(update=update)


def _reports(snapshot: Snapshot, trainer: TrainerState, status: TrainingRunStatus) -> TrainingRunStatus:
    update: dict[str, object] = {
        "progress": _progress(trainer, status.progress or Progress()),
        "metrics": _metrics(snapshot, status),
    }
    if trainer.checkpoint is not None and not _is_known(trainer.checkpoint, status):
        update["checkpoint"] = _checkpoint_status(trainer.checkpoint)
    status = status.model_copy(update=update)
    return _applied(trainer, status)


def _last_word(message: TerminationMessage, status: TrainingRunStatus) -> TrainingRunStatus:
    """What the launcher wrote down at its end: all that is known where no report came through."""
    final = {name: decimal_string(value) for name, value in sorted(message.verdict.metrics.items())}
    progress = status.progress or Progress()
    percent = 100 if message.verdict.outcome == Outcome.COMPLETED else progress.percent
    update: dict[str, object] = {"metrics": status.metrics | final}
    if (message.step, percent) > (progress.step, progress.percent):
        told = {"step": max(message.step, progress.step), "percent": percent, "eta_seconds": None}
        update["progress"] = progress.model_copy(update=told)
    # In the order in which they were written: training may have gone back.
    saved = message.checkpoints[-1] if message.checkpoints else None
    if saved is not None and not _is_known(saved, status):
        update["checkpoint"] = _checkpoint_status(saved)
    return status.model_copy(update=update)


def _checkpoint_status(checkpoint: CheckpointManifest) -> CheckpointStatus:
    """What status has room for; the series keeps the rest."""
    return CheckpointStatus.model_validate(checkpoint.model_dump(include=set(CheckpointStatus.model_fields)))


def _is_known(checkpoint: CheckpointManifest, status: TrainingRunStatus) -> bool:
    old = status.checkpoint
    return old is not None and (old.path, old.sha256) == (checkpoint.path, checkpoint.sha256)


def _progress(trainer: TrainerState, before: Progress) -> Progress:
    # The last report of a step comes before the step is done: completion is what the verdict says.
    completed = trainer.verdict is not None and trainer.verdict.outcome == Outcome.COMPLETED
    step = trainer.total_steps if completed and trainer.total_steps else trainer.step
    percent, eta = 100 if completed else 0, None
    if trainer.total_steps:
        percent = min(100, 100 * step // trainer.total_steps)
        if trainer.steps_per_second:
            eta = max(0, int((trainer.total_steps - step) / trainer.steps_per_second))
    update = {
        "epoch": trainer.epoch,
        "step": step,
        "total_epochs": trainer.total_epochs,
        "total_steps": trainer.total_steps,
        "percent": percent,
        "eta_seconds": eta,
    }
    return before.model_copy(update=update)


def _metrics(snapshot: Snapshot, status: TrainingRunStatus) -> dict[str, str]:
    """The newest validation's and test's metrics, over those that status has.

    The newest is of the newest plan: a correction takes training back to a checkpoint, and its steps with it.
    """
    newest: dict[str, float] = {}
    base = status.plan.base_generation if status.plan is not None else 0
    for kind in ("validation", "test"):
        points = [point for point in snapshot.points if point.kind == kind and point.generation >= base]
        newest |= max(points, key=lambda p: (p.generation, p.step)).metrics if points else {}
    return status.metrics | {name: decimal_string(value) for name, value in sorted(newest.items())}


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
    told = [(status.launch_crashes, status.last_crash)]
    if trainer is not None and trainer.launch == status.launch:
        told.append((trainer.crashes, trainer.last_crash))
    if job is not None and job.message is not None and job.message.launch == status.launch:
        told.append((job.message.crashes, cut(job.message.verdict.message)))
    # Of equal counts the first: a report has more to say of a crash than the verdict that follows it.
    newest, words = max(told, key=lambda each: each[0])
    more = newest - status.launch_crashes
    if not more:
        return status
    return status.model_copy(update={"crashes": status.crashes + more, "launch_crashes": newest, "last_crash": words})
