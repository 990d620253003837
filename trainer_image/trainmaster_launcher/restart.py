"""What answers a crash: a restart in place, after a pause, or the end of the launch. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trainmaster_launcher.outcome import CRASHED, FAILED, REPEATED_CRASH, CrashSignature, Verdict

AT_ONCE: Final = 1
"""Crashes in a row without progress that are answered without a pause: most crashes come alone, and each second that a
pod waits is a second of its devices. What crashes again before it came further pauses; the lease bounds them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crash:
    """One crash of this launch, as far as the answer depends on it."""

    signature: CrashSignature
    stepped: bool
    """Whether the process had made a training step."""
    progressed: bool
    """Whether it came further than every process of this launch before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """Start the process again, after a pause in seconds."""

    delay: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseUsedUp:
    """No restart is left, unless the operator renews the lease; else this is the verdict."""

    verdict: Verdict


Answer = Restart | LeaseUsedUp | Verdict


def answer_crash(
    crash: Crash,
    *,
    previous: Crash | None,
    fruitless: int,
    restarts: int,
    lease: int,
    backoff_first: float,
    backoff_last: float,
) -> Answer:
    """The answer to a crash.

    `previous` is the crash before it in this pod, `fruitless` the number of crashes in a row, with this one, that came
    no further than those before; `restarts` is how often this launch restarted already, `lease` how often it may.
    """
    if previous is not None and not crash.stepped and not previous.stepped and crash.signature == previous.signature:
        message = f"the same crash twice, each time before a new step was done: {crash.signature}"
        return Verdict(outcome=FAILED, reason=REPEATED_CRASH, message=message)
    if restarts >= lease:
        message = f"crashed after {restarts} restarts in place of {lease} allowed: {crash.signature}"
        return LeaseUsedUp(verdict=Verdict(outcome=FAILED, reason=CRASHED, message=message))
    if fruitless <= AT_ONCE:
        return Restart(delay=0)
    doublings = min(fruitless - AT_ONCE - 1, 16)
    return Restart(delay=min(backoff_first * 2**doublings, backoff_last))
