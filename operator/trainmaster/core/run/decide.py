"""The decision: one snapshot and the time in, status, effects, events and the next wake-up out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from trainmaster.api.conditions import Phase, Reason
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus
from trainmaster.core.recovery.policy import heal
from trainmaster.core.run.absorb import absorb, current_job, is_unproven
from trainmaster.core.run.course import has_name_conflict, steer
from trainmaster.core.run.deadlines import expiry, next_deadline, not_before
from trainmaster.core.run.effects import effects_of
from trainmaster.core.run.events import events_of
from trainmaster.core.run.hearing import silent_at
from trainmaster.core.run.standing import with_standing
from trainmaster.core.run.waiting import lost_at, pod_missing_at
from trainmaster.core.snapshot import Result, Snapshot

CONFLICT_SECONDS: Final = 30
"""A name that another Job holds is looked at again after so long, as an effect that is refused is tried again: no cache
shows the Jobs of others, so nothing else tells that it is free."""


def decide(snapshot: Snapshot, now: datetime) -> Result:
    """What to do about a run, given all that is seen of it."""
    run = snapshot.run
    if run.metadata.deletion_timestamp is not None:
        # Children carry ownerReferences: the server collects them, with or without us.
        return Result(status=run.status)
    status = absorb(snapshot, _first_seen(run), now)
    course = steer(snapshot, status, now)
    status = course.status
    job = current_job(snapshot, status)
    trains = (course.standing.phase, course.standing.reason) == (Phase.RUNNING, Reason.RUNNING)
    # Nobody is left in a pod that has ended to take a correction.
    if trains and not (job is not None and job.pod_ended):
        status = heal(run, status, points=snapshot.points, now=now)
    status = with_standing(status, course.standing, generation=run.metadata.generation, now=now)
    # A course that only a live look can settle has no effects yet: its plan may not even fit the spec any more.
    effects = () if course.look_live else effects_of(snapshot, status)
    return Result(
        status=status,
        effects=effects if snapshot.live else (),
        events=events_of(run.status, status, course.standing),
        wake_at=_wake_at(snapshot, status, now),
        look_live=not snapshot.live and (course.look_live or bool(effects) or is_unproven(snapshot, status)),
    )


def _first_seen(run: TrainingRun) -> TrainingRunStatus:
    """Status of a run; one never seen before takes note of its rerun token, so that a later change means something."""
    if run.status.observed_generation >= 0:
        return run.status
    return run.status.model_copy(update={"observed_rerun": run.spec.rerun})


def _wake_at(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> datetime | None:
    """The next moment at which time alone changes something."""
    moments: list[datetime | None] = []
    if status.phase in Phase.TERMINAL:
        moments.append(expiry(snapshot.run, status) if snapshot.own_jobs else None)
    elif status.launch_outcome is not None:
        moments.append(not_before(status) if status.phase == Phase.PENDING else None)
    elif status.launch:
        deadline = next_deadline(snapshot.run, status)
        job = current_job(snapshot, status)
        moments += [deadline[0] if deadline else None, lost_at(job), pod_missing_at(job, status)]
        moments.append(silent_at(snapshot.trainer, status) if status.phase == Phase.RUNNING else None)
        moments.append(now + timedelta(seconds=CONFLICT_SECONDS) if has_name_conflict(snapshot, status) else None)
    return min((moment for moment in moments if moment is not None and moment > now), default=None)
