"""One optimiser step that a non-finite loss or gradient cannot harm.

The loss and the gradient's norm are judged before anything is scaled: clipping would spread one NaN over every weight.
A bad step reaches fused AdamW as `found_inf`, which then leaves weights, moments and its step count alone. Nothing is
read back to the host here; `StepStatistics` collects on the device and is read at an epoch's end or for a point.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

NORM_EPSILON = 1e-6
"""Keeps the clip factor finite for a zero gradient; the value of torch.nn.utils.clip_grad_norm_."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What one step saw; tensors of one element on the device."""

    loss: Tensor
    grad_norm: Tensor
    """Norm of the whole gradient, before clipping."""
    ok: Tensor
    """Whether the step was taken."""


def new_optimizer(model: nn.Module, *, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW, which knows how to leave out a step; the engine sets its learning rate before each step."""
    return torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=weight_decay, fused=True)


def apply_step(
    loss: Tensor, *, optimizer: torch.optim.Optimizer, learning_rate: float, max_grad_norm: float
) -> StepResult:
    """Backward, clip and step; a step whose loss or gradient norm is NaN or infinite changes nothing."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate Tensor.backward
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads)
    ok = torch.isfinite(loss.detach()) & torch.isfinite(norm)
    factor = torch.clamp(max_grad_norm / (norm + NORM_EPSILON), max=1.0)
    torch._foreach_mul_(grads, factor)  # what clip_grad_norm_ itself uses; no public name
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    # Read by fused optimisers with getattr, as torch.amp.GradScaler leaves them there.
    optimizer.found_inf = (~ok).float()  # type: ignore[attr-defined]  # not declared on Optimizer
    optimizer.grad_scale = None  # type: ignore[attr-defined]  # not declared on Optimizer
    optimizer.step()
    return StepResult(loss=loss.detach(), grad_norm=norm, ok=ok)


class StepStatistics:
    """Sums over the steps of an epoch; non-finite values never enter them, they are counted."""

    _LOSS, _NORM, _NORM_MAX, _TAKEN, _SKIPPED = range(5)

    def __init__(self) -> None:
        self.sums = torch.zeros(5, dtype=torch.float64)

    def add(self, result: StepResult) -> None:
        """Take in one step."""
        zero = torch.zeros((), dtype=torch.float64)
        loss = torch.where(result.ok, result.loss.double(), zero)
        norm = torch.where(result.ok, result.grad_norm.double(), zero)
        taken = result.ok.double()
        largest = torch.maximum(self.sums[self._NORM_MAX], norm)
        self.sums += torch.stack([loss, norm, zero, taken, 1.0 - taken])
        self.sums[self._NORM_MAX] = largest

    def metrics(self) -> dict[str, float]:
        """The epoch's means; NaN where no step was taken."""
        sums = self.sums.tolist()
        taken = sums[self._TAKEN] or float("nan")
        return {
            "train_loss": sums[self._LOSS] / taken,
            "grad_norm": sums[self._NORM] / taken,
            "grad_norm_max": sums[self._NORM_MAX] if sums[self._TAKEN] else float("nan"),
            "nonfinite_steps": sums[self._SKIPPED],
        }
