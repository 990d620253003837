"""Which changes of status must be written now, and which can wait for the next write."""

from __future__ import annotations

from datetime import datetime, timedelta

from trainmaster.api.conditions import DecisionState
from trainmaster.api.trainingrun import Decision, TrainingRunStatus

QUIET_WRITE_SECONDS = 10
"""Steady state writes one status per run at most this often (DESIGN 3.7): etcd is not a time series database."""
SETTLED_WRITE_SECONDS = 2
"""That a decision has come true is not acted on, and can be seen again: its write waits for what mostly follows within
a second or two (the pod runs, the Job is gone), and goes with it."""

PATIENT_FIELDS = frozenset({"progress", "metrics", "checkpoint", "health"})
"""Fields whose news can wait: they tell how training goes, not what was decided."""


def write_due(
    before: TrainingRunStatus, after: TrainingRunStatus, *, last_write: datetime | None, now: datetime
) -> datetime | None:
    """When to write `after`: now when it matters, later when only progress changed, None when nothing did."""
    if before is after or before == after:
        return None
    urgent = _changed(before, after) - PATIENT_FIELDS
    if last_write is None or urgent - {"decisions"}:
        return now
    if not urgent:
        return max(now, last_write + timedelta(seconds=QUIET_WRITE_SECONDS))
    if not _only_done(before.decisions, after.decisions):
        return now
    return max(now, last_write + timedelta(seconds=SETTLED_WRITE_SECONDS))


def _changed(before: TrainingRunStatus, after: TrainingRunStatus) -> set[str]:
    changed = {name for name in TrainingRunStatus.model_fields if getattr(before, name) != getattr(after, name)}
    return changed if before.model_extra == after.model_extra else changed | {"model_extra"}


def _only_done(before: tuple[Decision, ...], after: tuple[Decision, ...]) -> bool:
    """Whether nothing but states has changed, from recorded to done."""
    if len(before) != len(after):
        return False
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    return all(
        (old.state, new.state) == (DecisionState.RECORDED, DecisionState.DONE)
        and old.model_copy(update={"state": new.state}) == new
        for old, new in pairs
    )
