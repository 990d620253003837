"""Who pays for the end of a launch, and what an order of ours makes of it."""

from __future__ import annotations

from trainmaster.api.conditions import EXIT_CRASHED, DecisionKind, Reason
from trainmaster.api.trainingrun import Decision, TrainingRunStatus
from trainmaster.core.run.outcome import Ending, verdict_of
from trainmaster.core.run.words import cut
from trainmaster.core.snapshot import ObservedJob, TrainerState

FINAL_ORDERS = frozenset(
    {Reason.ACTIVE_DEADLINE_EXCEEDED, Reason.SCHEDULING_DEADLINE_EXCEEDED, Reason.INVALID_CONFIGURATION}
)
"""Reasons to end a launch that end the run with it."""


def ordered_end(status: TrainingRunStatus) -> Decision | None:
    """The decision by which we ended this launch ourselves, if we did."""
    ends = [d for d in status.decisions if d.kind == DecisionKind.END_LAUNCH and d.launch == status.launch]
    return ends[-1] if ends else None


def ordered_ending(reason: str, *, words: str) -> Ending:
    """The ending of a launch that we ended, with what was seen when that was decided."""
    if reason == Reason.INVALID_CONFIGURATION:
        return Ending(kind="Failed", reason=reason, message=words)
    if reason in FINAL_ORDERS:
        message = "the run was ended at its deadline"
        return Ending(kind="Failed", reason=reason, message=f"{message}; {words}" if words else message)
    return Ending(kind="Disrupted", reason=reason)


def has_told(job: ObservedJob, trainer: TrainerState | None) -> bool:
    """Whether the launcher had its last word, heard or not: only then does it end with exit code 1."""
    return verdict_of(job, trainer) is not None or job.exit_code == EXIT_CRASHED


def charge(status: TrainingRunStatus, ending: Ending, *, told: bool) -> dict[str, object]:
    """Who pays for an ending: the user's crash budget, the cluster, or nobody.

    A launcher that had its last word has told each of its crashes; one that died itself is one more. No launch crashes
    for nothing: one that told none is one, else a launcher that miscounts would be launched for ever.
    """
    if ending.kind == "Disrupted":
        return {"disruptions": status.disruptions + 1}
    if ending.kind == "Crashed" and not (told and status.launch_crashes):
        return {
            "crashes": status.crashes + 1,
            "launch_crashes": status.launch_crashes + 1,
            "last_crash": cut(ending.message),
        }
    return {}


def is_repeated(status: TrainingRunStatus, reason: str) -> bool:
    """Whether the launch before the newest one ended for the same reason, and the newest one came no further."""
    launches = [d for d in status.decisions if d.kind == DecisionKind.LAUNCH and d.launch == status.launch]
    if not launches or launches[-1].reason != reason:
        return False
    return (status.progress.step if status.progress else 0) <= (launches[-1].observed_step or 0)
