"""How a launch ended: from its Job, its last words and its reports, to one of five endings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_RETRY, Outcome, Reason
from trainmaster.api.problems import errors
from trainmaster.api.protocol import Verdict
from trainmaster.api.rules import judge_spec
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.core.run.words import cut, memory_words, taken_words, unsaid_words
from trainmaster.core.snapshot import ObservedJob, TrainerState

PERMANENT = frozenset({Reason.INVALID_CONFIGURATION, Reason.REPEATED_CRASH})
"""Reasons of a Failed verdict that a new launch would only repeat."""
REASON_PATTERN = "[A-Z][A-Za-z0-9]{0,63}"
"""CamelCase, as conditions want it."""
MEND = "Nothing was trained yet: change the spec, and the run begins"
MEND_WITH_RERUN = "Change it, and spec.rerun with it, and the run begins again"
OOM_KILLED = "OOMKilled"
"""The kubelet's word for a container that was killed because memory ran out."""
_SUCCESSES: dict[str | None, str] = {
    Outcome.COMPLETED: Reason.COMPLETED,
    Outcome.STOPPED_EARLY: Reason.STOPPED_EARLY,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How one launch ended, and why."""

    kind: Literal["Succeeded", "Failed", "Unknown", "Crashed", "Disrupted"]
    reason: str
    message: str = ""


def classify(job: ObservedJob, trainer: TrainerState | None) -> Ending:
    """The ending of a finished launch.

    The launcher's verdict decides, whether it came by termination message or by report. Without one a completed Job is
    `Unknown`, never a success; a failed one is permanent with exit code 78, a disruption when the cluster ended it or
    its pod is gone, or when its exit code asks for a new pod, else a crash: of memory, if the cluster says so.
    """
    verdict = verdict_of(job, trainer)
    outcome = verdict.outcome if verdict else None
    message = verdict.message if verdict else unsaid_words(job)
    if outcome in _SUCCESSES:
        return Ending(kind="Succeeded", reason=_SUCCESSES[outcome], message=message)
    if outcome == Outcome.RETRY:
        return Ending(
            kind="Disrupted", reason=Reason.DISRUPTED, message=taken_words(job) if _is_taken(job) else cut(message)
        )
    if job.state == "Complete" and outcome != Outcome.FAILED:
        return _unheard(verdict, job.unreadable)
    if job.state == "Complete" or job.exit_code == EXIT_CONFIGURATION or _is_permanent(verdict):
        return Ending(kind="Failed", reason=_reason(verdict), message=message)
    return _unfinished(job, message)


def invalid_ending(run: TrainingRun, error: ValidationError) -> Ending:
    """The end of a run whose spec makes no plan, with all that is wrong in the words of `trainmaster validate`."""
    found = sorted(str(problem) for problem in errors(judge_spec(run.spec.to_wire())))
    wrong = ". ".join(found) or str(error)
    message = f"{wrong}. {MEND_WITH_RERUN if run.status.launch else MEND}"
    return Ending(kind="Failed", reason=Reason.INVALID_CONFIGURATION, message=message)


def _unfinished(job: ObservedJob, message: str) -> Ending:
    """The ending of a launch that another one may follow."""
    if _is_taken(job):
        return Ending(kind="Disrupted", reason=Reason.DISRUPTED, message=taken_words(job))
    if job.exit_code == EXIT_RETRY:
        return Ending(kind="Disrupted", reason=Reason.DISRUPTED, message=cut(message))
    if job.end_reason == OOM_KILLED:
        return Ending(kind="Crashed", reason=Reason.OUT_OF_MEMORY, message=memory_words(job))
    return Ending(kind="Crashed", reason=Reason.CRASHED, message=cut(message))


def _is_taken(job: ObservedJob) -> bool:
    return job.disrupted or job.podless


def verdict_of(job: ObservedJob, trainer: TrainerState | None) -> Verdict | None:
    """What the launcher of this Job said at its end, by termination message or by report."""
    if job.message is not None and job.message.launch == job.launch:
        return job.message.verdict
    if trainer is not None and trainer.launch == job.launch:
        return trainer.verdict
    return None


def _is_permanent(verdict: Verdict | None) -> bool:
    """Whether the launcher found what no retry can help: it exits with 78 then, but a lost pod has no exit code."""
    return verdict is not None and verdict.outcome == Outcome.FAILED and verdict.reason in PERMANENT


def _reason(verdict: Verdict | None) -> str:
    """The launcher's reason, if it can stand in a condition: a wrong one would make the API server refuse status."""
    if verdict is None or not re.fullmatch(REASON_PATTERN, verdict.reason):
        return Reason.INVALID_CONFIGURATION
    return verdict.reason


def _unheard(verdict: Verdict | None, unreadable: str) -> Ending:
    said = f"an unreadable one arrived: {unreadable}" if unreadable else "no verdict arrived"
    if verdict is not None:
        said = f"the verdict {verdict.outcome!r} is none that this version knows"
    message = f"the Job completed, but {said}: neither success nor failure can be claimed"
    return Ending(kind="Unknown", reason=Reason.VERDICT_MISSING, message=message)
