"""One entry of `spec.parameterSchedules`, in whole steps: the value at each step as a pure function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from trainmaster.api.parameter_schedules import ParameterSchedule, Strategy
from trainmaster_trainer.errors import ConfigurationError

NO_BOUND: Final = math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of steps, `start` included, `end` excluded, and how a value moves over it."""

    strategy: Strategy
    start: int
    end: int
    """At least one step after `start`; may lie beyond the training's last step, which then cuts it short."""
    from_: float | None = None
    """Value at `start`; None: 0 for the warm-ups, else the value before."""
    to: float | None = None
    """Value at `end`; of drops the value that they do not pass. None: each strategy's own, see `value`."""
    every: int | None = None
    """Steps from one drop to the next, or of the first cosine cycle; None: no restarts."""
    growth: int = 1
    multiply: float = 1.0
    patience: int = 0
    warmup: int = 0
    """Steps."""

    @classmethod
    def of(cls, schedule: ParameterSchedule, *, steps_per_epoch: int, total_steps: int) -> Segment:
        """An entry with its epochs as steps. Raises ConfigurationError if it would begin after the training's end."""
        scale = steps_per_epoch if schedule.unit == "epochs" else 1
        start = schedule.start * scale
        end = total_steps if schedule.end is None else schedule.end * scale
        if start >= total_steps or start >= end:
            message = (
                f"parameterSchedules: {schedule.strategy} of {schedule.parameter} begins at step {start}, but "
                f"{'the training' if start >= total_steps else 'it'} ends at step {min(end, total_steps)} "
                f"({steps_per_epoch} steps an epoch): give it an earlier start"
            )
            raise ConfigurationError(message)
        return cls(
            strategy=schedule.strategy,
            start=start,
            end=end,
            from_=_number(schedule.from_),
            to=_number(schedule.to),
            every=None if schedule.every is None else schedule.every * scale,
            growth=schedule.growth or 1,
            multiply=1.0 if schedule.multiply is None else float(schedule.multiply),
            patience=schedule.patience or 0,
            warmup=min((schedule.warmup or 0) * scale, end - start),
        )

    def value(self, step: int, *, before: float, own: float, cuts: int = 0) -> float:
        """The value at a step from `start` on; from `end` on what the entry leaves behind.

        `before` is the value up to `start`, `own` the hyperparameter's own one, `cuts` how often `plateau` has cut.
        """
        step = min(step, self.end)
        begin = self._begin(before)
        match self.strategy:
            case "linear" | "warmup":
                return _straight(begin, self._target(own), self._share(step))
            case "exponential":
                return _ratios(begin, self._target(own), self._share(step))
            case "cosine":
                return _half_wave(begin, self._target(0.0), self._cycle_share(step))
            case "step" | "plateau":
                return self._dropped(begin, cuts if self.strategy == "plateau" else self._drops(step))
            case "warmup-cosine":
                return self._up_and_down(step, begin=begin, peak=own)

    def begins_cycle(self, step: int) -> bool:
        """Whether a cosine cycle that is not the entry's first begins with this step."""
        return self.start < step < self.end and self._cycles and self._cycle(step)[0] == 0

    def within_cycle(self, step: int) -> bool:
        """Whether a cosine cycle is under way after `step` steps: begun, and not at its end."""
        return self.start < step < self.end and self._cycles and self._cycle(step)[0] != 0

    @property
    def _cycles(self) -> bool:
        return self.strategy == "cosine" and self.every is not None

    def _begin(self, before: float) -> float:
        if self.from_ is not None:
            return self.from_
        return 0.0 if self.strategy in ("warmup", "warmup-cosine") else before

    def _target(self, otherwise: float) -> float:
        return otherwise if self.to is None else self.to

    def _share(self, step: int) -> float:
        """How much of the stretch is done, 0 to 1."""
        return (step - self.start) / (self.end - self.start)

    def _cycle(self, step: int) -> tuple[int, int]:
        """Steps into the present cosine cycle, and its length; whole steps, so that no cycle starts a step late."""
        done, cycle = step - self.start, self.every or 1
        if self.growth == 1:
            return done % cycle, cycle
        while done >= cycle:
            done -= cycle
            cycle *= self.growth
        return done, cycle

    def _cycle_share(self, step: int) -> float:
        if self.every is None:
            return self._share(step)
        done, cycle = self._cycle(step)
        # What remains after the end is a cycle's end, not the start of one that never comes.
        return 1.0 if step == self.end and done == 0 else done / cycle

    def _drops(self, step: int) -> int:
        """Drops up to a step; one that would fall on the end itself never comes."""
        return (min(step, self.end - 1) - self.start) // (self.every or self.end)

    def _dropped(self, begin: float, drops: int) -> float:
        """`begin` after some drops; `to` stops them."""
        if self.multiply <= 1.0:
            return min(begin, max(self._target(0.0), begin * self.multiply**drops))
        most = self._target(NO_BOUND)
        # In logarithms: a factor above 1 overflows after enough drops.
        exponent = drops * math.log(self.multiply)
        risen = begin * math.exp(exponent) if exponent < _LARGEST_EXPONENT else NO_BOUND
        return max(begin, min(most, risen)) if begin else begin

    def _up_and_down(self, step: int, *, begin: float, peak: float) -> float:
        done = step - self.start
        if done < self.warmup:
            return _straight(begin, peak, done / self.warmup)
        rest = self.end - self.start - self.warmup
        return _half_wave(peak, self._target(0.0), (done - self.warmup) / rest if rest else 1.0)


_LARGEST_EXPONENT: Final = 700.0
"""exp of more overflows a double."""


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _straight(begin: float, end: float, share: float) -> float:
    return _between(begin, end, begin * (1.0 - share) + end * share)


def _ratios(begin: float, end: float, share: float) -> float:
    """Equal ratios per step; a value of 0 has none, and stays until the end."""
    if begin <= 0.0 or end <= 0.0:
        return end if share >= 1.0 else begin
    return _between(begin, end, begin * (end / begin) ** share)


def _half_wave(begin: float, end: float, share: float) -> float:
    """Half a cosine wave: flat at both ends (SGDR, arXiv 1608.03983, equation 5)."""
    return _between(begin, end, end + (begin - end) * (1.0 + math.cos(math.pi * share)) / 2.0)


def _between(one: float, other: float, value: float) -> float:
    """Rounding must not lead out of the range that a user has given."""
    return min(max(value, min(one, other)), max(one, other))
