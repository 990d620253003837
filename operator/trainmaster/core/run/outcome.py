"""How a launch ended: from its Job, its last words and its reports, to one of five endings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_RETRY, Outcome, Reason
from trainmaster.api.protocol import Verdict
from trainmaster.core.snapshot import ObservedJob, TrainerState


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How one launch ended, and why."""

    kind: Literal["Succeeded", "Failed", "Unknown", "Crashed", "Disrupted"]
    reason: str
    message: str = ""


def classify(job: ObservedJob, trainer: TrainerState | None) -> Ending:
    """The ending of a finished launch.

    The launcher's verdict decides, whether it came by termination message or by report. Without one a completed Job is
    `Unknown`, never a success; a failed one is a disruption when the cluster ended it or its exit code asks for a new
    pod, permanent with exit code 78, else a crash.
    """
    verdict = _verdict(job, trainer)
    if job.state == "Complete" or (verdict and verdict.outcome in {Outcome.COMPLETED, Outcome.STOPPED_EARLY}):
        return _completed(verdict)
    if job.disrupted or job.exit_code == EXIT_RETRY or (verdict and verdict.outcome == Outcome.RETRY):
        return Ending(kind="Disrupted", reason=Reason.DISRUPTED, message=verdict.message if verdict else "")
    if job.exit_code == EXIT_CONFIGURATION:
        reason = verdict.reason if verdict else Reason.INVALID_CONFIGURATION
        return Ending(kind="Failed", reason=reason, message=verdict.message if verdict else "exit code 78")
    message = verdict.message if verdict else f"the launcher ended without a verdict, exit code {job.exit_code}"
    return Ending(kind="Crashed", reason=Reason.CRASHED, message=message)


def _verdict(job: ObservedJob, trainer: TrainerState | None) -> Verdict | None:
    if job.message is not None and job.message.launch == job.launch:
        return job.message.verdict
    if trainer is not None and trainer.launch == job.launch:
        return trainer.verdict
    return None


def _completed(verdict: Verdict | None) -> Ending:
    if verdict is None:
        message = "the Job completed, but no verdict arrived: neither success nor failure can be claimed"
        return Ending(kind="Unknown", reason=Reason.VERDICT_MISSING, message=message)
    if verdict.outcome == Outcome.STOPPED_EARLY:
        return Ending(kind="Succeeded", reason=Reason.STOPPED_EARLY, message=verdict.message)
    return Ending(kind="Succeeded", reason=Reason.COMPLETED, message=verdict.message)
