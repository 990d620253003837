"""Gradient clipping whose threshold follows the norms that this training has had.

Norms are positive and spread over decades, so their logarithms are looked at. With the median `m` and the median
absolute deviation `d` of the last 256 logarithmic norms, the threshold is `exp(m + max(3 * 1.4826 * d, log 2))`, never
above the ceiling (`max_grad_norm`). Medians are not moved by a spike, which therefore enters the history unclipped.

A slot that has no norm yet counts as a norm far above any ceiling. With more than half of the slots empty that is the
median, and the ceiling holds alone; from then on the estimate tightens until the ring is full. There is no phase to
switch, and no count. All of it is a few dozen kernels on one element each, so their number is what it costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from trainmaster_trainer.guards.tensors import TensorState

RING: Final = 256
"""Norms remembered: enough for a stable median deviation, few enough to follow a training that settles."""
SPREADS: Final = 3.0
"""Standard deviations above the median; a normal distribution of log-norms has one in 740 beyond."""
MAD_TO_DEVIATION: Final = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation, 1 / Phi^-1(3/4)."""
MIN_RATIO: Final = 2.0
"""The threshold is at least this many times the median norm: clipping below would normalise ordinary gradients."""
EMERGENCY_RATIO: Final = 100.0
"""A norm this many times the median is an emergency. Batch noise stays within 10 (the limit of Megatron's rerun state
machine), spikes reach 1,000 (SPAM, ICLR 2025); between them, in the logarithm, lies 100."""
HALVINGS: Final = 4.0
"""Emergencies in a row that still halve the threshold: at a sixteenth, gradients no longer move the weights much."""
RELIEF_STEPS: Final = 64
"""Healthy steps that undo one halving: longer than a burst of bad batches, shorter than an epoch."""
EMPTY: Final = 80.0
"""Logarithm that an empty slot holds: above all norms that float32 can square, below its overflow in `exp`."""
LEAST_THRESHOLD: Final = 1e-30
"""Keeps a threshold over 0 where norms are so small that `exp` rounds to 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipDecision:
    """What the clipper decided for one step; tensors of one element on the device."""

    grad_scale: Tensor
    """What the gradients have to be divided by, 1 or more; without meaning where the step is not taken."""
    clipped: Tensor
    """Whether that is more than 1."""
    emergency: Tensor
    """Whether the norm is out of all proportion."""


class AdaptiveGradientClipper(TensorState):
    """Clips at a robust threshold; an emergency halves it for a while."""

    STATE: ClassVar = ("ring", "halvings", "counters")

    def __init__(self, *, adaptive: bool, emergency_norm: float, device: torch.device) -> None:
        """A clipper without history; not `adaptive`: the threshold is the ceiling, emergencies apart."""
        self._adaptive = adaptive
        self._emergency_norm = emergency_norm
        self.ring = torch.full((RING,), EMPTY, device=device)
        """Logarithms of the newest finite norms over 0, oldest first."""
        self.halvings = torch.zeros((), device=device)
        """How often the threshold is halved at present, as a negative number: -4 to 0, fractions while it recovers."""
        self.counters = torch.zeros(2, dtype=torch.int64, device=device)

    @property
    def total_clips(self) -> Tensor:
        """Steps whose gradient was clipped, one element on the device."""
        return self.counters[0]

    @property
    def emergency_clips(self) -> Tensor:
        """Steps that were emergencies, one element on the device."""
        return self.counters[1]

    def step(self, norm: Tensor, *, ok: Tensor, ceiling: float) -> ClipDecision:
        """Judge one norm by those before it, then remember it; `ok`: the step is taken (loss and norm are finite)."""
        typical = self.ring.median()
        seen = norm * ok  # 0 or NaN for a step that is not taken: no comparison with it is true
        emergency = seen > self._emergency_limit(typical, ceiling=ceiling)
        self.halvings.add_(ok, alpha=1 / RELIEF_STEPS).add_(emergency, alpha=-1.0 - 1 / RELIEF_STEPS)
        self.halvings.clamp_(min=-HALVINGS, max=0.0)
        threshold = self._threshold(typical, ceiling=ceiling) * self.halvings.exp2()
        grad_scale = (norm / threshold).clamp(min=1.0)
        clipped = seen > threshold
        self.counters.add_(torch.stack([clipped, emergency]))
        self._remember(seen)
        return ClipDecision(grad_scale=grad_scale, clipped=clipped, emergency=emergency)

    def widen(self) -> None:
        """Forget the history: after a warm restart or another batch the old norms say nothing about the new ones."""
        self.ring.fill_(EMPTY)

    def _emergency_limit(self, typical: Tensor, *, ceiling: float) -> Tensor:
        """The norm above which all is wrong: the absolute one, or a ratio to the median that is above the ceiling.

        A norm that the user's own ceiling lets pass is never an emergency, however small the median has become.
        """
        if not self._adaptive:
            return torch.full_like(typical, self._emergency_norm)
        # Where the ceiling is above the absolute limit, clamp gives the limit.
        return (typical.exp() * EMERGENCY_RATIO).clamp(min=ceiling, max=self._emergency_norm)

    def _threshold(self, typical: Tensor, *, ceiling: float) -> Tensor:
        if not self._adaptive:
            return torch.full_like(typical, ceiling)
        deviation = (self.ring - typical).abs_().median()
        margin = (deviation * (SPREADS * MAD_TO_DEVIATION)).clamp_(min=math.log(MIN_RATIO))
        return margin.add_(typical).exp_().clamp_(min=LEAST_THRESHOLD, max=ceiling)

    def _remember(self, seen: Tensor) -> None:
        shifted = torch.cat([self.ring[1:], seen.log().reshape(1)])
        self.ring = torch.where(seen > 0.0, shifted, self.ring)
