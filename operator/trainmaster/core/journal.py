"""The journal of decisions in status: recording, finding, settling, and dropping only what is settled."""

from __future__ import annotations

from datetime import datetime

from trainmaster.api.conditions import DecisionKind, DecisionState
from trainmaster.api.trainingrun import Attempt, Decision, TrainingRunStatus

KEPT_DECISIONS = 20
"""Settled decisions that status keeps: enough for a person to follow a bad night, small enough for etcd."""
KEPT_ATTEMPTS = 10

SETTLED = frozenset({DecisionState.DONE, DecisionState.VOID, DecisionState.OBSERVED})
OURS = frozenset(
    {DecisionKind.LAUNCH, DecisionKind.END_LAUNCH, DecisionKind.CLEAN_UP, DecisionKind.ADJUST, DecisionKind.RECORD}
)


def is_open(decision: Decision) -> bool:
    """Whether a decision of ours still has to come true; kinds and states of a newer version are not ours to act on."""
    return decision.kind in OURS and decision.state == DecisionState.RECORDED


def _is_droppable(decision: Decision) -> bool:
    """Whether nothing is left to do about it; who wrote a kind or state that we do not know may still need it."""
    return decision.kind in OURS and decision.state in SETTLED


def open_decisions(status: TrainingRunStatus, *kinds: str) -> tuple[Decision, ...]:
    """Open decisions of these kinds, oldest first; of all kinds when none is named."""
    return tuple(d for d in status.decisions if is_open(d) and (not kinds or d.kind in kinds))


def record(status: TrainingRunStatus, decision: Decision) -> TrainingRunStatus:
    """Status with one more decision; the oldest settled ones beyond `KEPT_DECISIONS` go, open ones never."""
    decisions = (*status.decisions, decision)
    surplus = len(decisions) - KEPT_DECISIONS
    kept = []
    for item in decisions:
        if surplus > 0 and _is_droppable(item):
            surplus -= 1
            continue
        kept.append(item)
    return status.model_copy(update={"decisions": tuple(kept)})


def settle(status: TrainingRunStatus, *, ids: frozenset[str], state: str) -> TrainingRunStatus:
    """Status with these decisions in this state."""
    if not ids:
        return status
    decisions = tuple(d.model_copy(update={"state": state}) if d.id in ids else d for d in status.decisions)
    return status.model_copy(update={"decisions": decisions})


def decision_id(status: TrainingRunStatus, *, kind: str, launch: int, generation: int, now: datetime) -> str:
    """A name that no other decision in status has: kind, launch, plan and second.

    A clock that goes back repeats its seconds: then a number follows.
    """
    name = f"{kind}-{launch}-{generation}-{int(now.timestamp())}"
    taken = {d.id for d in status.decisions}
    repeats = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(repeat for repeat in repeats if repeat not in taken)


def close_attempt(attempts: tuple[Attempt, ...], *, outcome: str) -> tuple[Attempt, ...]:
    """Attempts with the newest one ended, if it was not."""
    if not attempts or attempts[-1].outcome is not None:
        return attempts
    return (*attempts[:-1], attempts[-1].model_copy(update={"outcome": outcome}))
