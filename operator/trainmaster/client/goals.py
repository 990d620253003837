"""What can be waited for, and whether a run is there, not yet, or will never be. Pure.

A status counts only if it is about the spec that is stored now: right after a rerun or a resume it still tells of what
was before, and whoever took it for the answer would be done at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from trainmaster.api.conditions import CONDITION_TYPES, SUCCEEDED, SUSPENDED, Phase
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.api.wording import nearest
from trainmaster.client.errors import ClientError

ENDED: Final = "ended"
WORDS: Final = {
    ENDED: "the run has ended, whatever came of it",
    "succeeded": "it has succeeded, or was stopped early",
    "failed": "it has failed",
    "running": "a launch of it runs",
    "suspended": "it is suspended, and nothing of it runs",
}
CONDITION: Final = "condition="
STATUSES: Final = ("True", "False", "Unknown")


class UnknownGoalError(ClientError):
    """Nobody can wait for that."""


class Verdict(Enum):
    """Where a run stands with respect to a goal."""

    MET = "met"
    NOT_YET = "not yet"
    NEVER = "never"
    """It has ended otherwise; only a change of its spec could bring it there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What is waited for: one of `WORDS`, or a condition and its status."""

    word: str = ""
    condition: str = ""
    status: str = "True"

    def __str__(self) -> str:
        return self.word or f"{CONDITION}{self.condition}={self.status}"


def parse_goal(text: str) -> Goal:
    """`succeeded`, or as kubectl writes it `condition=Ready` or `condition=Ready=False`. Raises UnknownGoalError."""
    if text.lower() in WORDS:
        return Goal(word=text.lower())
    if text.startswith(CONDITION):
        kind, _, status = text.removeprefix(CONDITION).partition("=")
        wanted = status.capitalize() or "True"
        if kind and wanted in STATUSES:
            return Goal(condition=kind, status=wanted)
    near = nearest(text.lower(), list(WORDS))
    known = f"{', '.join(WORDS)}, condition=TYPE, condition=TYPE=STATUS with {', '.join(STATUSES)}"
    message = f"nobody can wait for {text!r}; " + (f"did you mean {near}?" if near else f"there are: {known}")
    raise UnknownGoalError(message)


def is_current(run: TrainingRun) -> bool:
    """Whether the status is about the spec as it is now."""
    seen = run.status.observed_generation >= run.metadata.generation
    return seen and run.status.observed_rerun == run.spec.rerun


def has_ended(run: TrainingRun) -> bool:
    """Whether the run has ended, by a status that is about its spec as it is now."""
    return is_current(run) and run.status.phase in Phase.TERMINAL


def judge(goal: Goal, run: TrainingRun) -> Verdict:
    """Whether a run is where one waits for it."""
    if not is_current(run):
        return Verdict.NOT_YET
    if goal.condition:
        return _judge_condition(goal, run)
    met = {
        ENDED: has_ended(run),
        "succeeded": _holds(run, SUCCEEDED, "True"),
        "failed": _holds(run, SUCCEEDED, "False"),
        "running": run.status.phase == Phase.RUNNING,
        "suspended": _holds(run, SUSPENDED, "True"),
    }[goal.word]
    if met:
        return Verdict.MET
    return Verdict.NEVER if has_ended(run) else Verdict.NOT_YET


def _judge_condition(goal: Goal, run: TrainingRun) -> Verdict:
    if _holds(run, goal.condition, goal.status):
        return Verdict.MET
    # Our own conditions stand still after the end; somebody else's may come whenever they like.
    ours = goal.condition in CONDITION_TYPES
    return Verdict.NEVER if ours and has_ended(run) else Verdict.NOT_YET


def _holds(run: TrainingRun, kind: str, status: str) -> bool:
    return any(c.type == kind and c.status == status for c in run.status.conditions)
