"""The values of all knobs at each step, and what has become of them so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.parameters.learning_rate import LEARNING_RATE
from trainmaster_trainer.parameters.plateau import Plateau
from trainmaster_trainer.parameters.segment import Segment

HISTORY_LIMIT: Final = 1_000
"""Changes that are kept, the newest: seven knobs over the 150 epochs of a default training."""
NO_LIMITS: Final[Mapping[str, tuple[float, float]]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A knob that has another value than at the validation before."""

    step: int
    """Steps done when it was noted."""
    parameter: str
    before: float
    after: float
    cause: str
    """`schedule`, or what a directive said."""


class ParamScheduler:
    """Moves knobs over the training; one owner for each.

    `base` names every knob with its value in the plan; those without an entry in `schedules` stay there. `limits` are
    the smallest and largest value that each may have, whatever a correction makes of its schedule.
    """

    def __init__(
        self,
        schedules: Sequence[ParameterSchedule],
        *,
        base: Mapping[str, float],
        epochs: int,
        steps_per_epoch: int,
        limits: Mapping[str, tuple[float, float]] = NO_LIMITS,
    ) -> None:
        """Raises ConfigurationError for an entry of no knob, and for one that would begin after the training's end."""
        self._planned = dict(base)
        self._base = dict(base)
        self._limits = limits
        self._segments: dict[str, tuple[Segment, ...]] = {}
        for schedule in schedules:
            if schedule.parameter not in base:
                message = f"parameterSchedules: {schedule.parameter} cannot move; these can: {', '.join(base)}"
                raise ConfigurationError(message)
            segment = Segment.of(schedule, steps_per_epoch=steps_per_epoch, total_steps=epochs * steps_per_epoch)
            others = self._segments.get(schedule.parameter, ())
            self._segments[schedule.parameter] = tuple(sorted((*others, segment), key=lambda one: one.start))
        self._plateaus = {
            name: {index: Plateau(patience=s.patience) for index, s in enumerate(segments) if s.strategy == "plateau"}
            for name, segments in self._segments.items()
        }
        self._history: deque[Change] = deque(maxlen=HISTORY_LIMIT)
        self._changes = 0
        self._noted = self.values(0)

    @property
    def history(self) -> tuple[Change, ...]:
        """The newest changes, oldest first."""
        return tuple(self._history)

    @property
    def base(self) -> Mapping[str, float]:
        """The knobs' own values in force: the plan's, or those of the newest directive."""
        return dict(self._base)

    def values(self, step: int) -> dict[str, float]:
        """Every knob's value at a step (0-based), before guards multiply it."""
        return {**self._base, **{name: self._value(name, step) for name in self._segments}}

    def restarts_at(self, step: int) -> bool:
        """Whether the learning rate jumps up with this step: norms and losses before it say little about it."""
        segments = self._segments.get(LEARNING_RATE, ())
        if any(segment.begins_cycle(step) for segment in segments):
            return True
        starts = step > 0 and any(segment.start == step for segment in segments)
        return starts and self._value(LEARNING_RATE, step) > self._value(LEARNING_RATE, step - 1)

    def may_be_judged(self, steps_done: int) -> bool:
        """Whether patience may judge a validation after so many steps: not in the middle of a cosine cycle."""
        return not any(segment.within_cycle(steps_done) for segment in self._segments.get(LEARNING_RATE, ()))

    def rebase(self, values: Mapping[str, float], *, step: int, cause: str) -> None:
        """A directive's values: from this step on the schedules of these knobs are scaled with them.

        What is no knob, or no finite number, is passed over.
        """
        known = {name: value for name, value in values.items() if name in self._base and math.isfinite(value)}
        self._base.update(known)
        self._note(step, cause=cause)

    def observe(self, val_loss: float, *, steps_done: int) -> None:
        """Take in one validation: what `plateau` waits for, and when changes are noted."""
        for name, plateaus in self._plateaus.items():
            for index, plateau in plateaus.items():
                segment = self._segments[name][index]
                if segment.start < steps_done <= segment.end:
                    plateau.observe(val_loss)
        self._note(steps_done, cause="schedule")

    def metrics(self, step: int) -> dict[str, float]:
        """The scheduled knobs' values, and how many changes there were: for points."""
        scheduled = {name: self._value(name, step) for name in self._segments}
        return {**scheduled, "param_scheduler.total_changes": float(self._changes)}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: numbers, strings, lists and dicts only."""
        return {
            "base": dict(self._base),
            "plateaus": {
                name: {str(index): plateau.state_dict() for index, plateau in plateaus.items()}
                for name, plateaus in self._plateaus.items()
            },
            "history": [asdict(change) for change in self._history],
            "changes": self._changes,
            "noted": dict(self._noted),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of the same plan; raises KeyError if it is of another."""
        self._base.update(state["base"])
        for name, plateaus in self._plateaus.items():
            for index, plateau in plateaus.items():
                plateau.load_state_dict(state["plateaus"][name][str(index)])
        self._history = deque((Change(**change) for change in state["history"]), maxlen=HISTORY_LIMIT)
        self._changes = int(state["changes"])
        self._noted = dict(state["noted"])

    def _value(self, name: str, step: int) -> float:
        own = value = self._planned[name]
        for index, segment in enumerate(self._segments[name]):
            if step < segment.start:
                break
            plateau = self._plateaus[name].get(index)
            value = segment.value(step, before=value, own=own, cuts=plateau.cuts if plateau else 0)
        return self._limited(name, _scaled(value, planned=own, base=self._base[name]))

    def _limited(self, name: str, value: float) -> float:
        low, high = self._limits.get(name, (-math.inf, math.inf))
        return min(max(value, low), high)

    def _note(self, step: int, *, cause: str) -> None:
        """Compare with what was noted last. Values at `step` itself: the next step's."""
        now = self.values(step)
        for name, value in now.items():
            if value != self._noted[name]:
                self._history.append(
                    Change(step=step, parameter=name, before=self._noted[name], after=value, cause=cause)
                )
                self._changes += 1
        self._noted = now


def _scaled(value: float, *, planned: float, base: float) -> float:
    """A schedule's value after corrections of its hyperparameter: in proportion; from 0, which has none, by as much."""
    if base == planned:
        return value
    return value * (base / planned) if planned else value + base
