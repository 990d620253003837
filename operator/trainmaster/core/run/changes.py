"""Which changes of status must be written now, and which can wait for the next write."""

from __future__ import annotations

from datetime import datetime, timedelta

from trainmaster.api.conditions import Condition
from trainmaster.api.trainingrun import TrainingRunStatus

QUIET_WRITE_SECONDS = 10
"""Steady state writes one status per run at most this often (DESIGN 3.7): etcd is not a time series database."""

PATIENT_FIELDS = frozenset({"progress", "metrics", "checkpoint", "health"})
"""Fields whose news can wait: they tell how training goes, not what was decided."""


def write_due(
    before: TrainingRunStatus, after: TrainingRunStatus, *, last_write: datetime | None, now: datetime
) -> datetime | None:
    """When to write `after`: now when it matters, later when only progress changed, None when nothing did."""
    if before is after or before == after:
        return None
    if last_write is None or _changed(before, after) - PATIENT_FIELDS:
        return now
    return max(now, last_write + timedelta(seconds=QUIET_WRITE_SECONDS))


def _without_words(status: TrainingRunStatus) -> list[Condition]:
    """Its conditions without their sentences: a scheduler that counts nodes changes those with each node that comes."""
    return [condition.model_copy(update={"message": ""}) for condition in status.conditions]


def _changed(before: TrainingRunStatus, after: TrainingRunStatus) -> set[str]:
    changed = {name for name in TrainingRunStatus.model_fields if getattr(before, name) != getattr(after, name)}
    if _without_words(before) == _without_words(after):
        changed -= {"conditions"}
    return changed if before.model_extra == after.model_extra else changed | {"model_extra"}
