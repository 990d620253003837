"""A multiplier on the learning rate: cut on a plateau, rescued in an emergency.

`learning rate = schedule(base, step) x multiplier`: the guard owns the multiplier and nothing else, so that no schedule
undoes it. It is a tensor which fused AdamW reads on the device: nothing is copied to the host, and a resumed training
continues from the saved tensor, bit for bit.

The two reasons for a small multiplier are kept apart, as logarithms. A plateau's cut stays: it is annealing. A
rescue's cut (x 0.1) recovers slowly, since most spikes pass, and three cuts for good would leave a training that looks
alive at a thousandth of its rate. It recovers to half of the rate that broke, never to that rate itself.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

import torch
from torch import Tensor

from trainmaster_trainer.guards.settings import GuardSettings
from trainmaster_trainer.guards.tensors import TensorState
from trainmaster_trainer.parameters.plateau import LEAST_IMPROVEMENT

EMERGENCY_LOSS: Final = 1e6
"""A loss beyond this is an emergency; the source's value."""
MAX_MULTIPLIER: Final = 2.0
"""The learning rate is never more than this times the base; the source's value. No rule here raises it above 1."""
COOL_DOWN_STEPS: Final = 50
"""Taken steps after a rescue without another one: the lower rate must have had time to act. AdamW's second moment
(beta 0.999) still holds 95 % of a spike then, so that a shorter pause would punish the same spike twice."""
RECOVERED_SHARE: Final = 0.5
"""Each rescue leaves at most this share of the rate that broke, however long training then stays healthy."""
RECOVERY_STEPS: Final = 500
"""Healthy steps per factor of ten on the way back."""

_RECOVERY_PER_STEP: Final = math.log(10.0) / RECOVERY_STEPS


class SmartLRAdapter(TensorState):
    """Cuts the learning rate when validations stall, and rescues a training that blows up."""

    STATE: ClassVar = ("rescue_level", "plateau_level", "rescues", "cuts", "cool_down", "best", "stalled")

    def __init__(self, settings: GuardSettings, *, device: torch.device) -> None:
        """An adapter that has changed nothing yet."""
        self._settings = settings
        self._floor = min(1.0, settings.min_learning_rate / settings.learning_rate)
        self._recovered = math.log(max(RECOVERED_SHARE, settings.emergency_lr_factor))
        self.rescue_level = torch.zeros((), device=device)
        """Logarithm of the rescues' share of the multiplier, 0 or less."""
        self.plateau_level = torch.zeros((), device=device)
        """Logarithm of the plateaus' share of it, 0 or less."""
        self.rescues = torch.zeros((), dtype=torch.int64, device=device)
        self.cuts = torch.zeros((), dtype=torch.int64, device=device)
        self.cool_down = torch.zeros((), dtype=torch.int64, device=device)
        """Taken steps until a rescue is possible again."""
        self.best = torch.full((), math.inf, dtype=torch.float64, device=device)
        """Best finite validation loss."""
        self.stalled = torch.zeros((), dtype=torch.int64, device=device)
        """Validations since then, or since the last cut."""

    @property
    def total_changes(self) -> Tensor:
        """Cuts and rescues, one element on the device; the slow recovery is not counted."""
        return self.cuts + self.rescues

    @property
    def multiplier(self) -> Tensor:
        """What the scheduled learning rate is multiplied with, one float32 on the device."""
        return (self.rescue_level + self.plateau_level).exp().clamp(min=self._floor, max=MAX_MULTIPLIER)

    def judge(self, losses: Tensor, norms: Tensor, *, taken: Tensor, explained: Tensor) -> Tensor:
        """Take in some steps, shape (steps,); whether they call for a rescue, as a boolean on the device.

        `taken`: neither loss nor gradient was non-finite. `explained`: poison rows, now in quarantine, were why.
        """
        # A comparison with NaN is false. A step with a finite loss and an infinite norm is not taken, and with fp16
        # that is how the scaler finds its scale.
        tame = losses.abs() <= EMERGENCY_LOSS
        large = norms * taken > self._settings.emergency_grad_norm
        emergency = (large | ~(tame | explained)).any()
        steps = taken.sum()
        ready = self.cool_down == 0
        rescued = emergency & ready & (self.rescues < self._settings.max_lr_rescues)
        self.cool_down.sub_(steps).clamp_(min=0).add_(rescued, alpha=COOL_DOWN_STEPS)
        self.rescue_level.add_(steps * (ready & ~emergency), alpha=_RECOVERY_PER_STEP)
        torch.minimum(self.rescue_level, self.rescues * self._recovered, out=self.rescue_level)
        self.rescue_level.add_(rescued, alpha=math.log(self._settings.emergency_lr_factor))
        self.rescues.add_(rescued)
        return rescued

    def validated(self, loss: float) -> None:
        """Take in one validation loss; one that is not finite is neither better nor worse."""
        if not math.isfinite(loss):
            return
        improved = self.best - self.best.abs().nan_to_num(posinf=0.0) * LEAST_IMPROVEMENT > loss
        self.best.copy_(torch.where(improved, torch.full_like(self.best, loss), self.best))
        self.stalled.add_(1).mul_(~improved)
        cut = (self.stalled >= self._settings.lr_plateau_patience) & (self.multiplier > self._floor)
        self.plateau_level.add_(cut, alpha=math.log(self._settings.lr_plateau_factor))
        self.cuts.add_(cut)
        self.stalled.mul_(~cut)

    def widen(self) -> None:
        """Start counting anew: after a warm restart the validation loss rises by design."""
        self.stalled.zero_()
