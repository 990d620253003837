"""Gradient clipping whose threshold follows the norms that this training has had.

Norms are positive and spread over decades, so their logarithms are looked at. With the median `m` and the median
absolute deviation `d` of the last 256 logarithmic norms, the threshold is `exp(m + max(3 * 1.4826 * d, log 2))`, never
above the ceiling (`max_grad_norm`). Medians are not moved by a spike, which therefore enters the history unclipped.

A slot that has no norm yet counts as a norm far above any ceiling. With more than half of the slots empty that is the
median, and the ceiling holds alone; from then on the estimate tightens until the ring is full. There is no phase to
switch, and no count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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


class AdaptiveGradientClipper(TensorState):
    """Clips at a robust threshold; an emergency halves it for a while."""

    STATE: ClassVar = ("ring", "limit", "halvings", "counters")

    def __init__(self, *, adaptive: bool, emergency_norm: float, device: torch.device) -> None:
        """A clipper without history; not `adaptive`: the threshold is the ceiling, emergencies apart."""
        self._adaptive = adaptive
        self._emergency_norm = emergency_norm
        self.ring = torch.full((RING,), EMPTY, device=device)
        """Logarithms of the newest finite norms over 0, oldest first."""
        self.limit = torch.full((), math.inf, device=device)
        """What the history says about the threshold; neither ceiling nor emergencies are in it."""
        self.halvings = torch.zeros((), device=device)
        """How often the threshold is halved at present, as a negative number: -4 to 0, fractions while it recovers."""
        self.counters = torch.zeros(2, dtype=torch.int64, device=device)
        self._slots = torch.ones(RING, dtype=torch.bool, device=device)
        self._threshold: tuple[float, Tensor] | None = None

    @property
    def total_clips(self) -> Tensor:
        """Steps whose gradient was clipped, one element on the device."""
        return self.counters[0]

    @property
    def emergency_clips(self) -> Tensor:
        """Steps that were emergencies, one element on the device."""
        return self.counters[1]

    def grad_scale(self, norm: Tensor, *, ceiling: float) -> Tensor:
        """What the gradients of a norm have to be divided by, 1 or more; NaN where the norm is."""
        if self._threshold is None or self._threshold[0] != ceiling:
            highest = self.limit.clamp(min=LEAST_THRESHOLD, max=ceiling)
            self._threshold = ceiling, highest * self.halvings.exp2()
        return (norm / self._threshold[1]).clamp(min=1.0)

    def judge(self, norms: Tensor, *, scales: Tensor, taken: Tensor, ceiling: float) -> tuple[Tensor, Tensor]:
        """Take in some steps, oldest first: their norms, grad_scales, and whether they were taken, shape (steps,).

        How many were clipped, and how many were emergencies, by the history before them.
        """
        seen = norms * taken  # 0 or NaN for a step that was not taken: no comparison with it is true
        clips = ((scales > 1.0) & taken).sum()
        emergencies = (seen > self._emergency_limit(ceiling)).sum()
        self.halvings.add_(taken.sum(), alpha=1 / RELIEF_STEPS).clamp_(max=0.0)
        self.halvings.add_(emergencies, alpha=-1).clamp_(min=-HALVINGS)
        self.counters.add_(torch.stack([clips, emergencies]))
        if self._adaptive:
            self._remember(seen)
        self._threshold = None
        return clips, emergencies

    def widen(self) -> None:
        """Forget the history: after a warm restart or another batch the old norms say nothing about the new ones."""
        self.ring.fill_(EMPTY)
        self.limit.fill_(math.inf)
        self._threshold = None

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state; see TensorState."""
        super().load_state_dict(state)
        self._threshold = None

    def _emergency_limit(self, ceiling: float) -> Tensor:
        """The norm above which all is wrong: the absolute one, or a ratio to the median that is above the ceiling.

        A norm that the user's own ceiling lets pass is never an emergency, however small the median has become. Where
        the ceiling is above the absolute limit, the latter holds.
        """
        return (self.ring.median().exp() * EMERGENCY_RATIO).clamp(min=ceiling, max=self._emergency_norm)

    def _remember(self, seen: Tensor) -> None:
        """Append the norms over 0 to the ring, and look at it anew."""
        norms = torch.cat([self.ring, seen.log()])
        # Sorted by whether it counts, the order kept: what does not count comes first and falls off.
        order = torch.cat([self._slots, seen > 0.0]).to(torch.uint8).argsort(stable=True)
        self.ring.copy_(norms[order[len(seen) :]])
        typical = self.ring.median()
        deviation = (self.ring - typical).abs_().median()
        margin = (deviation * (SPREADS * MAD_TO_DEVIATION)).clamp_(min=math.log(MIN_RATIO))
        self.limit.copy_(margin.add_(typical).exp_())
