"""What keeps training healthy at every step, decided on the device and read by the host at log points only.

Once per optimiser step, between the backward passes and the optimiser, and effective for that very step:

1. The loss and the norm of the whole, unscaled, unclipped gradient are looked at together. A step with a non-finite one
   is not taken: fused AdamW gets it as `found_inf` and leaves weights, moments and its step count alone. Clipping comes
   after this, since it would spread one NaN over every weight.
2. The gradient is clipped at the threshold in force.

Once per ten steps, over all ten at once (a judgement), since such small kernels cost their launch and nothing else:

3. `Quarantine` looks at the loss of each row. Where a minority of a batch is non-finite, the rows are at fault: they
   are marked, and later batches hold a healthy row with weight 0 in their place. Where most rows are non-finite, the
   weights are at fault: no row is marked.
4. `SmartLRAdapter` multiplies the learning rate: a rescue (x 0.1) when the loss is non-finite without poison rows to
   blame, or loss or norm are absurdly large; after a validation, a cut (x 0.5) when they stop improving.
5. `AdaptiveGradientClipper` takes its threshold from the median and the spread of the last 256 logarithmic norms.

`IntegrationManager` runs them, switches off one that raises, and turns their counters into a `GuardReport`. Steps that
wait for their judgement are in its state, and a judgement follows from the number of steps, never from a report: a
resumed training judges the same ten.

All state lives in tensors on the device, goes into the checkpoint, and is never touched by NaN, Inf or 0. Scalars enter
as arguments of kernels, never as tensors made on the host, since such a copy would make the host wait.
"""

from __future__ import annotations

from trainmaster_trainer.guards.clipper import AdaptiveGradientClipper
from trainmaster_trainer.guards.learning_rate import SmartLRAdapter
from trainmaster_trainer.guards.manager import Decision, IntegrationManager, StepSignals
from trainmaster_trainer.guards.quarantine import Quarantine
from trainmaster_trainer.guards.report import GuardEvent, GuardReport
from trainmaster_trainer.guards.settings import GuardSettings

__all__ = [
    "AdaptiveGradientClipper",
    "Decision",
    "GuardEvent",
    "GuardReport",
    "GuardSettings",
    "IntegrationManager",
    "Quarantine",
    "SmartLRAdapter",
    "StepSignals",
]
