"""The journal of decisions in status: recording, finding, settling, and dropping only what is settled."""

from __future__ import annotations

from datetime import datetime

from trainmaster.api.conditions import DecisionState
from trainmaster.api.trainingrun import Attempt, Decision, TrainingRunStatus

KEPT_DECISIONS = 20
"""Settled decisions that status keeps: enough for a person to follow a bad night, small enough for etcd."""
KEPT_ATTEMPTS = 10

SETTLED = frozenset({DecisionState.DONE, DecisionState.VOID, DecisionState.OBSERVED})


def is_open(decision: Decision) -> bool:
    """Whether a decision still has to come true; a state of a newer version counts as settled: it is not ours."""
    return decision.state == DecisionState.RECORDED


def open_decisions(status: TrainingRunStatus, *kinds: str) -> tuple[Decision, ...]:
    """Open decisions of these kinds, oldest first; of all kinds when none is named."""
    return tuple(d for d in status.decisions if is_open(d) and (not kinds or d.kind in kinds))


def record(status: TrainingRunStatus, decision: Decision) -> TrainingRunStatus:
    """Status with one more decision; the oldest settled ones beyond `KEPT_DECISIONS` go, open ones never."""
    decisions = (*status.decisions, decision)
    surplus = len(decisions) - KEPT_DECISIONS
    kept = []
    for item in decisions:
        if surplus > 0 and not is_open(item):
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


def decision_id(*, kind: str, launch: int, generation: int, now: datetime) -> str:
    """A name for a decision that no other decision of this run has: one of a kind for launch, plan and second."""
    return f"{kind}-{launch}-{generation}-{int(now.timestamp())}"


def close_attempt(attempts: tuple[Attempt, ...], *, outcome: str) -> tuple[Attempt, ...]:
    """Attempts with the newest one ended, if it was not."""
    if not attempts or attempts[-1].outcome is not None:
        return attempts
    return (*attempts[:-1], attempts[-1].model_copy(update={"outcome": outcome}))
