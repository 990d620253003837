"""Where a run stands, in one phase, reason and sentence; and the conditions that say the same to machines.

The table is faults_security_gitops.md 4.2 in the project's notes: kstatus takes `Ready=True` for "accepted and
started", `Reconciling` for "on its way", only `Stalled` for "failed"; `Succeeded` is the conventions' name for bounded
work and `Unknown` while it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from trainmaster.api.conditions import (
    CONDITION_TYPES,
    SUCCEEDED,
    Condition,
    ConditionStatus,
    Phase,
    Reason,
)
from trainmaster.api.trainingrun import TrainingRunStatus

HELD_UP = frozenset({Reason.NAME_CONFLICT, Reason.JOB_REFUSED})
"""Reasons for which a run that lives gets no further until somebody steps in."""
MESSAGE_MAX = 1024
"""Characters of a condition's message: a trainer's last words must not make status too large to be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Phase, reason and message of a run at one moment."""

    phase: str
    reason: str
    message: str = ""


def terminal_standing(status: TrainingRunStatus) -> Standing:
    """The standing that a finished run has kept in its condition `Succeeded`."""
    condition = status.condition(SUCCEEDED)
    if condition is None:
        return Standing(phase=status.phase, reason=status.phase)
    return Standing(phase=status.phase, reason=condition.reason, message=condition.message)


def with_standing(
    status: TrainingRunStatus, standing: Standing, *, generation: int, now: datetime
) -> TrainingRunStatus:
    """Status that says where the run stands; a condition's time changes only with its status."""
    before = {c.type: c for c in status.conditions}
    ours = []
    message = standing.message[:MESSAGE_MAX]
    for kind in CONDITION_TYPES:
        value = _condition_value(kind, standing, started=_has_started(status))
        if value is None:
            continue
        old = before.get(kind)
        changed = old is None or old.status != value
        fresh = {
            "type": kind,
            "status": value,
            "reason": standing.reason,
            "message": message,
            "last_transition_time": now if changed or old is None else old.last_transition_time,
            "observed_generation": generation,
        }
        ours.append(old.model_copy(update=fresh) if old else Condition.model_validate(fresh))
    foreign = tuple(c for c in status.conditions if c.type not in CONDITION_TYPES)
    update = {"phase": standing.phase, "conditions": (*ours, *foreign), "observed_generation": generation}
    return status.model_copy(update=update)


def _has_started(status: TrainingRunStatus) -> bool:
    """Whether this rerun was accepted and started before: a new launch of it is no news to those who wait for that."""
    return status.start_time is not None or status.queued_seconds > 0


def _condition_value(kind: str, standing: Standing, *, started: bool) -> ConditionStatus | None:
    """The status of one condition; None: the condition is absent."""
    phase = standing.phase
    starting = phase == Phase.PENDING and not started
    held_up = standing.reason in HELD_UP
    failed = phase in {Phase.FAILED, Phase.UNKNOWN} or held_up
    match kind:
        case "Ready":
            return "False" if starting or failed else "True"
        case "Reconciling":
            return "True" if starting and not held_up else None
        case "Stalled":
            return "True" if failed else None
        case "Suspended":
            return "True" if phase == Phase.SUSPENDED else None
        case _:
            return _SUCCEEDED.get(phase, "Unknown")


_SUCCEEDED: dict[str, ConditionStatus] = {Phase.SUCCEEDED: "True", Phase.FAILED: "False"}
