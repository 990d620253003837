"""How a training process ended: a verdict on the launch, or a crash. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from trainmaster_launcher.errors import EXIT_CONFIGURATION, EXIT_CRASHED, EXIT_OK, EXIT_RETRY
from trainmaster_launcher.messages import MESSAGE_LENGTH, Done, WireMetrics

COMPLETED: Final = "Completed"
STOPPED_EARLY: Final = "StoppedEarly"
RETRY: Final = "Retry"
FAILED: Final = "Failed"

CRASHED: Final = "Crashed"
DISRUPTED: Final = "Disrupted"
INVALID_CONFIGURATION: Final = "InvalidConfiguration"
REPEATED_CRASH: Final = "RepeatedCrash"

PERMANENT_REASONS: Final = frozenset({INVALID_CONFIGURATION, REPEATED_CRASH})
MESSAGE_LINES: Final = 5
"""Last lines that a verdict's message repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How the launch ended."""

    outcome: str
    reason: str
    message: str = ""
    metrics: WireMetrics = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """What the launcher tells the kubelet."""
        if self.outcome in {COMPLETED, STOPPED_EARLY}:
            return EXIT_OK
        if self.outcome == RETRY:
            return EXIT_RETRY
        return EXIT_CONFIGURATION if self.reason in PERMANENT_REASONS else EXIT_CRASHED

    def to_wire(self) -> dict[str, Any]:
        """As the protocol has it."""
        wire = {"outcome": self.outcome, "reason": self.reason, "message": self.message, "metrics": self.metrics}
        return {name: value for name, value in wire.items() if value}


@dataclass(frozen=True, kw_only=True, slots=True)
class CrashSignature:
    """What two crashes have in common when they are the same."""

    kind: str
    """`exit`, `signal` or `hang`."""
    code: int | None = None
    signal: str | None = None
    last_line: str = ""

    def __str__(self) -> str:
        how = {"exit": f"exit code {self.code}", "signal": f"signal {self.signal}", "hang": "hang"}[self.kind]
        return f"{how}: {self.last_line}" if self.last_line else how


def crash_signature(*, code: int | None, signal_number: int | None, hung: bool, last_line: str) -> CrashSignature:
    """The signature of an end; a process that was killed because it hung did not die of the signal."""
    if hung:
        return CrashSignature(kind="hang", last_line=last_line)
    if signal_number is not None:
        return CrashSignature(kind="signal", signal=signal_name(signal_number), last_line=last_line)
    return CrashSignature(kind="exit", code=code, last_line=last_line)


def signal_name(number: int) -> str:
    """SIGKILL for 9; the number for signals without a name, such as most real-time ones."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def verdict_of_end(
    *, code: int | None, hung: bool, done: Done | None, terminating: bool, lines: Sequence[str]
) -> Verdict | None:
    """The verdict that the end of a process gives; None for a crash.

    What the process said itself stands, whatever became of it afterwards; then SIGTERM explains every end.
    """
    if done is not None:
        return Verdict(outcome=done.outcome, reason=done.reason, message=done.message, metrics=done.metrics)
    if terminating:
        return Verdict(outcome=RETRY, reason=DISRUPTED, message="ended by SIGTERM")
    return None if hung else _verdict_of_code(code, lines)


def _verdict_of_code(code: int | None, lines: Sequence[str]) -> Verdict | None:
    if code == EXIT_OK:
        return Verdict(outcome=COMPLETED, reason=COMPLETED)
    if code == EXIT_RETRY:
        return Verdict(outcome=RETRY, reason=DISRUPTED, message="the training process asked for a new pod (exit 75)")
    if code == EXIT_CONFIGURATION:
        said = [line for line in lines if line.strip()]
        # What was only warned of is not why it ended.
        said = ([line for line in said if ": WARNING: " not in line] or said)[-MESSAGE_LINES:]
        return Verdict(outcome=FAILED, reason=INVALID_CONFIGURATION, message="\n".join(said)[-MESSAGE_LENGTH:])
    return None
