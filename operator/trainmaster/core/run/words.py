"""The sentences about launches: how a training process crashed, how a launch ended, who took its pod."""

from __future__ import annotations

from typing import Final

from trainmaster.api.conditions import Reason
from trainmaster.api.protocol import Crash
from trainmaster.api.trainingrun import Progress, TrainingRunStatus
from trainmaster.core.snapshot import ObservedJob

WORDS_MAX: Final = 300
"""Characters of a sentence in status: there are twenty decisions, and status stays under 16 KiB."""
SIGNAL_BASE: Final = 128
"""A shell's exit code of what a signal ended is this and the signal's number; container runtimes say the same."""
SIGNALS: Final = {6: "SIGABRT", 7: "SIGBUS", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


def crash_words(crash: Crash) -> str:
    """What crashed, where, and its last line."""
    match crash.kind:
        case "hang":
            how = "the training process hung"
        case "signal" if crash.signal == "SIGKILL":
            how = "the training process was killed by SIGKILL, as the kernel does where memory runs out"
        case "signal":
            how = f"the training process was killed by {crash.signal}"
        case _:
            how = f"the training process ended with exit code {crash.code}"
    step = "" if crash.step is None else f", step {crash.step}"
    last = next((line.strip() for line in reversed(crash.lines) if line.strip()), "")
    return cut(f"{how} in phase {crash.phase}{step}" + (f": {last}" if last else ""))


def unsaid_words(job: ObservedJob) -> str:
    """How a launch ended whose launcher did not say."""
    code = "no exit code" if job.exit_code is None else f"exit code {job.exit_code}"
    signal = SIGNALS.get((job.exit_code or 0) - SIGNAL_BASE)
    details = ", ".join(part for part in (code, signal, job.end_reason) if part)
    return cut(f"the launcher ended without a verdict ({details}){_where(job)}")


def taken_words(job: ObservedJob) -> str:
    """Who ended a launch that the cluster ended."""
    if job.disruption is not None:
        return cut(f"the cluster took the pod{_where(job)}: {job.disruption}")
    if job.podless:
        return "its pod was deleted before anybody read how it ended"
    return f"the cluster took the pod{_where(job)}"


def success_words(reason: str, status: TrainingRunStatus) -> str:
    """How a run ended well whose training code said nothing about it."""
    early = reason == Reason.STOPPED_EARLY
    how, done = "stopped early" if early else "completed", status.progress or Progress()
    counts = (done.epoch, done.total_epochs, "epochs"), (done.step, done.total_steps, "steps")
    # The last report of an epoch comes before it is done: completion is what the verdict says.
    parts = [f"{number if early else total} of {total} {unit}" for number, total, unit in counts if total]
    return f"{how}: {', '.join(parts)}" if parts else f"{how} at step {done.step}"


def memory_words(job: ObservedJob) -> str:
    """How a pod ended that was killed for memory, and the ways out."""
    return (
        f"the pod was killed for memory (OOMKilled, exit code {job.exit_code}){_where(job)}: give it more by "
        "spec.resources.memory, or make the batch smaller; both need a new spec.rerun"
    )


def cut(text: str) -> str:
    """A sentence that is not too long for status."""
    return text if len(text) <= WORDS_MAX else f"{text[: WORDS_MAX - 3]}..."


def _where(job: ObservedJob) -> str:
    return f" on node {job.node}" if job.node else ""
