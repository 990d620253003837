"""The learning rate's shape over time, as a pure function of the step.

The learning rate of a step is `base * factor`: the base belongs to the plan and its directives, the factor to the
schedule. Nothing is stored, so nothing can be restored wrongly or silently undo a directive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["constant", "cosine-annealing-warm-restarts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Shape of the learning rate: constant, or cosine with warm restarts (SGDR, arXiv 1608.03983)."""

    name: ScheduleName
    steps_per_epoch: int
    t_0: int = 1
    """Epochs of the first cosine cycle."""
    t_mult: int = 1
    """Each cycle is this many times longer than the one before."""

    def factor(self, step: int) -> float:
        """What the base learning rate is multiplied with at a step (0-based), between 0 and 1.

        Equal to torch's CosineAnnealingWarmRestarts with `eta_min=0`, stepped by fractions of an epoch.
        """
        if self.name == "constant":
            return 1.0
        done, cycle = self._position(step)
        return (1.0 + math.cos(math.pi * done / cycle)) / 2.0

    def _position(self, step: int) -> tuple[int, int]:
        """Steps into the current cycle, and its length; in whole steps, so that no cycle starts a step too late."""
        cycle = self.t_0 * self.steps_per_epoch
        if self.t_mult == 1:
            return step % cycle, cycle
        while step >= cycle:
            step -= cycle
            cycle *= self.t_mult
        return step, cycle
