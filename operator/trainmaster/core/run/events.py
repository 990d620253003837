"""What is worth telling in Events: new decisions and changes of standing, derived from status before and after."""

from __future__ import annotations

from typing import Final, Literal

from trainmaster.api.conditions import READY, DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.trainingrun import Decision, TrainingRunStatus
from trainmaster.core.run.standing import Standing
from trainmaster.core.snapshot import Event

TROUBLES: Final = frozenset(
    {
        Reason.CONTAINER_NOT_STARTED,
        Reason.IMAGE_PULL_FAILED,
        Reason.JOB_REFUSED,
        Reason.NAME_CONFLICT,
        Reason.NODE_LOST,
        Reason.POD_NOT_CREATED,
        Reason.UNSCHEDULABLE,
    }
)
"""Reasons of a standing that are told when they begin: the run waits, and a person may be able to help."""


def events_of(before: TrainingRunStatus, after: TrainingRunStatus, standing: Standing) -> tuple[Event, ...]:
    """Events of one step; they are sent only after the status that they tell of is committed."""
    known = {d.id for d in before.decisions}
    # That a run has ended is told below; that it is also written down is no second piece of news.
    new = [d for d in after.decisions if d.id not in known and d.kind != DecisionKind.RECORD]
    events = [_decision_event(d) for d in new]
    if before.phase != after.phase and after.phase in Phase.TERMINAL | {Phase.RUNNING, Phase.SUSPENDED}:
        bad = after.phase in {Phase.FAILED, Phase.UNKNOWN}
        kind: Literal["Normal", "Warning"] = "Warning" if bad else "Normal"
        events.append(Event(type=kind, reason=standing.reason, message=standing.message or after.phase))
    if standing.reason in TROUBLES and not _stands(before, standing.reason):
        events.append(Event(type="Warning", reason=standing.reason, message=standing.message))
    if after.crashes > before.crashes:
        which = f"crash {after.crashes} of this rerun"
        message = f"{which}: {after.last_crash}" if after.last_crash else which
        events.append(Event(type="Warning", reason=Reason.CRASHED, message=message))
    return tuple(events)


def _stands(status: TrainingRunStatus, reason: str) -> bool:
    """Whether this was the reason of the run's standing already."""
    return any(condition.type == READY and condition.reason == reason for condition in status.conditions)


def _decision_event(decision: Decision) -> Event:
    would = "would be " if decision.state == DecisionState.OBSERVED else ""
    told = f"{would}{_deed(decision)}"
    message = f"{told}: {decision.evidence}" if decision.evidence else told
    return Event(type="Normal", reason=decision.reason, message=message)


def _deed(decision: Decision) -> str:
    """What a decision does, in words."""
    match decision.kind:
        case DecisionKind.LAUNCH:
            return f"starting launch {decision.launch}"
        case DecisionKind.END_LAUNCH:
            return f"ending launch {decision.launch}"
        case DecisionKind.CLEAN_UP:
            return "deleting the Jobs of the finished run"
        case DecisionKind.ADJUST:
            return "setting " + ", ".join(f"{name} to {value}" for name, value in decision.target.items())
        case _:
            return decision.kind
