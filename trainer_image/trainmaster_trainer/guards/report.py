"""What the guards tell at a log point: health, counters, events, and what a person should do.

Health is `max(0, 1 - 2 s - 4 e - c / 4)`, where `s`, `e` and `c` are the recent shares (a decaying mean over about the
last 100 steps) of steps that were not taken, that were emergencies, and that were clipped; and 0 while a weight is not
finite. So 1 is undisturbed, half of the steps skipped or a quarter in emergency is 0, and clipping alone, which does
its work, costs a quarter at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SKIPPED_COST: Final = 2.0
"""A training that loses every second step goes nowhere that can be trusted."""
EMERGENCY_COST: Final = 4.0
"""An emergency is worse than a lost step: the step was taken, or it cost learning rate."""
CLIPPED_COST: Final = 0.25
"""Clipping is not an illness; clipping all the time says that rate and ceiling do not fit."""
OFTEN_SKIPPED: Final = 0.05
"""Recent share of lost steps that is worth a person's look: one in twenty."""
OFTEN_CLIPPED: Final = 0.5
"""Recent share of clipped steps above which the ceiling, not the gradient, sets the pace."""
SKIPS_IN_A_ROW: Final = 3
"""As many lost steps one after another are no accident; also what the first rung of recovery allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardEvent:
    """Something that a guard did, or that befell it."""

    guard: str
    """`gradient_clipper`, `lr_adapter` or `quarantine`."""
    reason: str
    """One word in CamelCase: EmergencyClip, LearningRateChanged, RowsQuarantined or GuardOff."""
    message: str
    """One sentence for a person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardReport:
    """What the guards have seen up to now."""

    health: float
    """0 (nothing works) to 1 (undisturbed)."""
    emergency: bool
    """Whether an emergency is going on: a halved threshold, a fresh rescue, or several steps lost in a row."""
    recommendations: tuple[str, ...]
    events: tuple[GuardEvent, ...]
    """What happened since the last report."""
    metrics: dict[str, float]
    """Names as in the `smart-tuner-v2` image; every value is finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """All that one copy from the device brings; counters are totals."""

    skipped_share: float = 0.0
    clipped_share: float = 0.0
    emergency_share: float = 0.0
    skips_in_a_row: float = 0.0
    skipped: float = 0.0
    total_clips: float = 0.0
    emergency_clips: float = 0.0
    halvings: float = 0.0
    lr_multiplier: float = 1.0
    lr_changes: float = 0.0
    lr_rescues: float = 0.0
    lr_cool_down: float = 0.0
    quarantined: float = 0.0
    parameters_finite: float = 1.0

    @property
    def health(self) -> float:
        """See the module's docstring."""
        cost = (
            SKIPPED_COST * self.skipped_share
            + EMERGENCY_COST * self.emergency_share
            + CLIPPED_COST * self.clipped_share
        )
        return max(0.0, 1.0 - cost) if self.parameters_finite else 0.0

    @property
    def emergency(self) -> bool:
        """Whether an emergency is going on."""
        return bool(
            self.halvings < 0
            or self.lr_cool_down > 0
            or self.skips_in_a_row >= SKIPS_IN_A_ROW
            or not self.parameters_finite
        )

    def metrics(self) -> dict[str, float]:
        """Counters and shares under the names that users know."""
        return {
            "gradient_clipper.total_clips": self.total_clips,
            "gradient_clipper.emergency_clips": self.emergency_clips,
            "lr_adapter.total_changes": self.lr_changes,
            "lr_adapter.multiplier": self.lr_multiplier,
            "quarantine.rows": self.quarantined,
            "guards.nonfinite_steps": self.skipped,
            "smart_tuner.system_health": self.health,
            "smart_tuner.emergency_mode": float(self.emergency),
        }

    def recommendations(self, *, max_lr_rescues: int, off: tuple[str, ...]) -> tuple[str, ...]:
        """What a person should do, most urgent first."""
        found = []
        if not self.parameters_finite:
            found.append("weights are not finite: no step can help, go back to a healthy checkpoint")
        elif self.skips_in_a_row >= SKIPS_IN_A_ROW:
            found.append(
                f"{self.skips_in_a_row:.0f} steps in a row were lost to NaN or infinity: go back to a healthy "
                "checkpoint if they go on"
            )
        if self.skipped_share > OFTEN_SKIPPED:
            found.append(
                f"{self.skipped_share:.0%} of recent steps were lost to NaN or infinity: lower learning_rate, or look "
                "for such values in the data"
            )
        if max_lr_rescues and self.lr_rescues >= max_lr_rescues:
            found.append(f"all {max_lr_rescues} rescues of the learning rate are spent: lower learning_rate for good")
        if self.clipped_share > OFTEN_CLIPPED:
            found.append(
                f"{self.clipped_share:.0%} of recent steps were clipped: lower learning_rate, or raise max_grad_norm"
            )
        if self.quarantined:
            found.append(f"{self.quarantined:.0f} rows gave no finite loss and are left out: repair them in the data")
        found += [f"the guard {name} is off after an error: see the log, and report it" for name in off]
        return tuple(found)


NOTHING_SEEN: Final = Readings()
"""The readings of guards at the start of a training."""


def events_between(before: Readings, now: Readings) -> tuple[GuardEvent, ...]:
    """What the guards did from one reading to the next."""
    events = []
    if (count := now.emergency_clips - before.emergency_clips) > 0:
        message = f"{count:.0f} gradients were out of all proportion: the clipping threshold is halved for a while"
        events.append(GuardEvent(guard="gradient_clipper", reason="EmergencyClip", message=message))
    if (count := now.lr_changes - before.lr_changes) > 0:
        rescues = now.lr_rescues - before.lr_rescues
        message = (
            f"the learning rate was changed {count:.0f} times, {rescues:.0f} of them rescues: it is now the scheduled "
            f"one x {now.lr_multiplier:.3g}"
        )
        events.append(GuardEvent(guard="lr_adapter", reason="LearningRateChanged", message=message))
    if (count := now.quarantined - before.quarantined) > 0:
        message = f"{count:.0f} more rows gave no finite loss and are left out from now on"
        events.append(GuardEvent(guard="quarantine", reason="RowsQuarantined", message=message))
    return tuple(events)
