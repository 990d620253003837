"""Deadlines, back-off and time-to-live of one run: durations from wall-clock times, never negative."""

from __future__ import annotations

from datetime import datetime, timedelta

from trainmaster.api.conditions import Reason
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus

QUICK_END_SECONDS = 60
"""A launch that ran for less ended quickly: several in a row are a loop, not bad luck."""
FREE_QUICK_ENDS = 3
"""Quick ends in a row without back-off: an interrupted terminal or one drained node should cost nothing."""
BACKOFF_FIRST_SECONDS = 10
BACKOFF_MAX_SECONDS = 300


def exceeded(run: TrainingRun, status: TrainingRunStatus, now: datetime) -> str | None:
    """The reason of the deadline that a living launch has exceeded, if any."""
    due = next_deadline(run, status)
    if due is None or now < due[0]:
        return None
    return due[1]


def next_deadline(run: TrainingRun, status: TrainingRunStatus) -> tuple[datetime, str] | None:
    """When the next deadline of the living launch falls, and its reason. Time in a queue counts in none."""
    if status.running_time is not None:
        limit = run.spec.active_deadline_seconds
        if limit is None:
            return None
        return status.running_time + timedelta(seconds=limit - status.active_seconds), Reason.ACTIVE_DEADLINE_EXCEEDED
    limit = run.spec.scheduling_deadline_seconds
    if limit is None or status.launch_time is None or status.queued_since is not None:
        return None
    due = status.launch_time + timedelta(seconds=limit + status.queued_seconds)
    return due, Reason.SCHEDULING_DEADLINE_EXCEEDED


def seconds_between(start: datetime | None, end: datetime) -> int:
    """Whole seconds from `start`, 0 when there is none or when a clock went back between."""
    return max(0, int((end - start).total_seconds())) if start is not None else 0


def is_quick(status: TrainingRunStatus, end: datetime) -> bool:
    """Whether the newest launch, which ended then, ran for less than `QUICK_END_SECONDS`."""
    return seconds_between(status.running_time, end) < QUICK_END_SECONDS


def backs_off(status: TrainingRunStatus, now: datetime) -> bool:
    """Whether the next launch has to wait; not after a clock went back, for nobody knows how long that would be."""
    due = not_before(status)
    return due is not None and status.launch_end_time is not None and status.launch_end_time <= now < due


def not_before(status: TrainingRunStatus) -> datetime | None:
    """When the next launch may start: back-off after several quick ends in a row, doubling."""
    surplus = status.quick_ends - FREE_QUICK_ENDS
    if surplus <= 0 or status.launch_end_time is None:
        return None
    # The exponent is bounded, so that years of quick ends do not build astronomical integers.
    seconds = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(surplus - 1, 10))
    return status.launch_end_time + timedelta(seconds=seconds)


def expiry(run: TrainingRun, status: TrainingRunStatus) -> datetime | None:
    """When what a finished run left is deleted."""
    ttl = run.spec.ttl_seconds_after_finished
    if ttl is None or status.completion_time is None:
        return None
    return status.completion_time + timedelta(seconds=ttl)
