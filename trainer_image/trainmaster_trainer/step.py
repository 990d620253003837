"""One optimiser step that a non-finite loss or gradient cannot harm.

The loss and the gradient's norm are judged before anything is scaled: clipping would spread one NaN over every weight.
A bad step reaches fused AdamW as `found_inf`, which then leaves weights, moments and its step count alone. Clipping
reaches it as `grad_scale`, by which it divides the gradients on its way: no pass over them of its own. The learning
rate is a tensor, so that the guards can change it on the device. Nothing is read back to the host here;
`StepStatistics` collects on the device and is read at an epoch's end or for a point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from trainmaster_trainer.guards.finite import is_finite
from trainmaster_trainer.guards.manager import IntegrationManager, StepSignals
from trainmaster_trainer.guards.quarantine import Filtered


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


@dataclass(frozen=True, kw_only=True, slots=True)
class StepKnobs:
    """The values in force at one step, guards not yet applied."""

    learning_rate: float
    """Base times schedule."""
    weight_decay: float
    max_grad_norm: float
    """Ceiling of the clipping threshold, over 0."""


class Ranks(Protocol):
    """Several processes that train one model, each with some slices of every batch."""

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all ranks."""


class TrainStep:
    """Takes optimiser steps over one or several micro-batches, under all guards."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        guards: IntegrationManager,
        scaler: torch.amp.GradScaler | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """A step of `optimizer`, which is fused (see `new_optimizer`); `scaler`: for fp16 only, bfloat16 needs none."""
        self._optimizer = optimizer
        self._guards = guards
        self._scaler = scaler
        self._ranks = ranks
        self.committing = False
        """Whether a step that the caller has not counted may have changed guards or weights; the caller clears it."""

    def run(
        self,
        loss_of: Callable[[int], Tensor],
        *,
        slices: int,
        batch_size: int,
        knobs: StepKnobs,
        batch: Filtered | None = None,
        begin: int = 0,
    ) -> StepResult:
        """One step; if it raises during a backward pass, guards and weights are as before and it can be taken again.

        Args:
            loss_of: runs the forward pass of a slice (0-based) and gives its losses, shape (rows of the slice,).
            slices: micro-batches of this rank, in the order of `batch`.
            batch_size: rows of the effective batch, over all slices and ranks. The loss is the sum over all rows
                divided by this: a row in quarantine leaves the others' shares as they are.
            knobs: the values in force.
            batch: what the quarantine made of all its rows; None: no row is judged or weighted.
            begin: place in `batch` of this rank's first row.
        """
        self._optimizer.zero_grad(set_to_none=True)
        losses, loss = self._backward(loss_of, slices=slices, batch_size=batch_size, batch=batch, begin=begin)
        signals = self._signals(loss, losses, batch=batch, begin=begin)
        self.committing = True
        decision = self._guards.step(signals, max_grad_norm=knobs.max_grad_norm)
        rate = decision.lr_multiplier * knobs.learning_rate
        for group in self._optimizer.param_groups:
            group["lr"] = rate
            group["weight_decay"] = knobs.weight_decay
        # Read by fused optimisers with getattr, as torch.amp.GradScaler leaves them there.
        self._optimizer.found_inf = (~signals.ok).float()  # type: ignore[attr-defined]  # not declared on Optimizer
        self._optimizer.grad_scale = decision.grad_scale  # type: ignore[attr-defined]  # not declared on Optimizer
        self._optimizer.step()
        if self._scaler is not None:
            self._scaler.update()
        return StepResult(loss=signals.loss, grad_norm=signals.norm, ok=signals.ok)

    def _backward(
        self, loss_of: Callable[[int], Tensor], *, slices: int, batch_size: int, batch: Filtered | None, begin: int
    ) -> tuple[Tensor, Tensor]:
        """Backward passes of this rank's slices; the losses of its rows, and its share of the batch's loss."""
        parts, shares, start = [], [], begin
        for index in range(slices):
            losses = loss_of(index).float()  # a sum over fp16 could overflow
            weighted = losses if batch is None else losses * batch.weights[start : start + len(losses)]
            share = weighted.sum() / batch_size
            scaled = share if self._scaler is None else self._scaler.scale(share)
            scaled.backward()  # type: ignore[no-untyped-call]  # torch does not annotate Tensor.backward
            parts.append(losses.detach())
            shares.append(share.detach())
            start += len(losses)
        return torch.cat(parts), sum(shares[1:], start=shares[0])

    def _signals(self, loss: Tensor, losses: Tensor, *, batch: Filtered | None, begin: int) -> StepSignals:
        """Judge loss and gradient. What ranks have found is summed first, so that all judge the same."""
        grads = [p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self._ranks is not None:
            if batch is not None:
                everyones = losses.new_zeros(len(batch.rows))
                everyones[begin : begin + len(losses)] = losses
                losses = everyones
            self._ranks.sum([*grads, loss, losses])
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.get_total_norm(grads)
        ok = is_finite(loss + norm)
        rows = None if batch is None else batch.rows
        return StepSignals(loss=loss, norm=norm, ok=ok, rows=rows, losses=None if batch is None else losses)


class StepStatistics:
    """Sums over the steps of an epoch; non-finite values never enter them, they are counted."""

    _LOSS, _NORM, _NORM_MAX, _TAKEN, _SKIPPED = range(5)

    def __init__(self, *, device: torch.device | None = None) -> None:
        """Nothing summed yet; `device`: where the steps are taken, the CPU if not given."""
        self.sums = torch.zeros(5, dtype=torch.float64, device=device)

    def add(self, result: StepResult) -> None:
        """Take in one step."""
        zero = torch.zeros((), dtype=torch.float64, device=self.sums.device)
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
