"""One call per step over all guards, one read per log point."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from trainmaster_trainer.guards.clipper import AdaptiveGradientClipper
from trainmaster_trainer.guards.finite import finite_parameters
from trainmaster_trainer.guards.learning_rate import SmartLRAdapter
from trainmaster_trainer.guards.quarantine import Filtered, Quarantine
from trainmaster_trainer.guards.report import NOTHING_SEEN, GuardEvent, GuardReport, Readings, events_between
from trainmaster_trainer.guards.settings import GuardSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

RECENT_STEPS: Final = 100
"""Steps that the recent shares look back over, as the time constant of a decaying mean."""

CLIPPER: Final = "gradient_clipper"
ADAPTER: Final = "lr_adapter"
QUARANTINE: Final = "quarantine"


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSignals:
    """What one step's backward passes left behind; tensors on the device, the same on every rank."""

    loss: Tensor
    norm: Tensor
    """Norm of the whole gradient, unscaled and not clipped."""
    ok: Tensor
    """Whether both are finite."""
    explained: Tensor
    """Whether poison rows are why they are not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """How the optimiser shall take the step; tensors of one element on the device."""

    grad_scale: Tensor
    """What the gradients have to be divided by, 1 or more."""
    lr_multiplier: Tensor
    """What the scheduled learning rate is multiplied with."""


class IntegrationManager:
    """All guards of one training; a guard that raises is switched off, and training goes on."""

    def __init__(self, settings: GuardSettings, *, rows: int, device: torch.device) -> None:
        """Guards that have seen nothing; `rows`: rows of the training data, for the quarantine."""
        self._settings = settings
        self.clipper = AdaptiveGradientClipper(
            adaptive=settings.adaptive_clipping, emergency_norm=settings.emergency_grad_norm, device=device
        )
        self.adapter = SmartLRAdapter(settings, device=device)
        self.quarantine = Quarantine(rows=rows if settings.quarantine else 0, device=device)
        self.recent = torch.zeros(3, device=device)
        """Recent shares of steps that were lost, clipped, emergencies."""
        self.skips = torch.zeros(2, dtype=torch.int64, device=device)
        """Steps lost in all, and in a row up to now."""
        self._never = torch.zeros((), dtype=torch.bool, device=device)
        self.multiplier = torch.ones((), device=device)
        """The learning rate's multiplier at the last step; stays in force if the adapter is switched off."""
        self._off: dict[str, str] = {}
        self._told = NOTHING_SEEN
        self._events: list[GuardEvent] = []

    def filter(self, rows: Tensor) -> Filtered:
        """The rows of a batch without those in quarantine; see Quarantine.filter."""
        batch = None
        if self._settings.quarantine:
            batch = self._guarded(QUARANTINE, lambda: self.quarantine.filter(rows), otherwise=None)
        return Filtered(rows, torch.ones(rows.shape, device=rows.device)) if batch is None else batch

    def observe(self, rows: Tensor, losses: Tensor) -> Tensor:
        """Whether poison rows make a step bad; they are marked. See Quarantine.observe."""
        if not self._settings.quarantine:
            return self._never
        return self._guarded(QUARANTINE, lambda: self.quarantine.observe(rows, losses), otherwise=self._never)

    def step(self, signals: StepSignals, *, max_grad_norm: float) -> Decision:
        """Take in one step, before the optimiser does; `max_grad_norm`: ceiling of the clipping threshold."""
        norm, ok = signals.norm, signals.ok
        rescued = self._guarded(
            ADAPTER,
            lambda: self.adapter.step(signals.loss, norm, ok=ok, explained=signals.explained),
            otherwise=self._never,
        )
        clip = self._guarded(CLIPPER, lambda: self.clipper.step(norm, ok=ok, ceiling=max_grad_norm), otherwise=None)
        if clip is None:
            grad_scale = (norm / max_grad_norm).clamp(min=1.0)
            self._count(ok, clipped=ok & (grad_scale > 1.0), emergency=rescued)
        else:
            grad_scale = clip.grad_scale
            self._count(ok, clipped=clip.clipped, emergency=clip.emergency | rescued)
        self.multiplier.copy_(self._guarded(ADAPTER, lambda: self.adapter.multiplier, otherwise=self.multiplier))
        return Decision(grad_scale=grad_scale, lr_multiplier=self.multiplier)

    def validated(self, loss: float) -> None:
        """Take in a validation loss, which may end a plateau's patience."""
        self._guarded(ADAPTER, lambda: self.adapter.validated(loss), otherwise=None)

    def widen(self) -> None:
        """Forget old norms and plateaus: a warm restart, another batch or learning rate begins now."""
        self._guarded(CLIPPER, self.clipper.widen, otherwise=None)
        self._guarded(ADAPTER, self.adapter.widen, otherwise=None)

    def read(self, model: nn.Module | None = None) -> GuardReport:
        """Copy all readings to the host, once; with a model, its weights are checked too. For log points only."""
        readings = self._readings(model)
        events = (*self._events, *events_between(self._told, readings))
        self._told, self._events = readings, []
        return GuardReport(
            health=readings.health,
            emergency=readings.emergency,
            recommendations=readings.recommendations(
                max_lr_rescues=self._settings.max_lr_rescues, off=tuple(self._off)
            ),
            events=events,
            metrics=readings.metrics(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything to continue from: tensors, and which guards are off."""
        return {
            CLIPPER: self.clipper.state_dict(),
            ADAPTER: self.adapter.state_dict(),
            QUARANTINE: self.quarantine.state_dict(),
            "recent": self.recent.clone(),
            "skips": self.skips.clone(),
            "multiplier": self.multiplier.clone(),
            "off": dict(self._off),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state. Raises KeyError or ValueError if it does not fit."""
        self.clipper.load_state_dict(state[CLIPPER])
        self.adapter.load_state_dict(state[ADAPTER])
        self.quarantine.load_state_dict(state[QUARANTINE])
        self.recent.copy_(state["recent"])
        self.skips.copy_(state["skips"])
        self.multiplier.copy_(state["multiplier"])
        self._off = dict(state["off"])
        # What was told before the checkpoint is not told again.
        self._told, self._events = self._readings(None), []

    def _count(self, ok: Tensor, *, clipped: Tensor, emergency: Tensor) -> None:
        lost = ~ok
        self.recent.lerp_(torch.stack([lost, clipped, emergency]).float(), 1 / RECENT_STEPS)
        self.skips.add_(lost)
        self.skips[1].mul_(lost)

    def _readings(self, model: nn.Module | None) -> Readings:
        finite = torch.ones_like(self._never) if model is None else finite_parameters(model)
        parts = {
            "skipped_share": self.recent[0],
            "clipped_share": self.recent[1],
            "emergency_share": self.recent[2],
            "skipped": self.skips[0],
            "skips_in_a_row": self.skips[1],
            "total_clips": self.clipper.total_clips,
            "emergency_clips": self.clipper.emergency_clips,
            "halvings": self.clipper.halvings,
            "lr_multiplier": self.multiplier,
            "lr_changes": self.adapter.total_changes,
            "lr_rescues": self.adapter.rescues,
            "lr_cool_down": self.adapter.cool_down,
            "quarantined": self.quarantine.count,
            "parameters_finite": finite,
        }
        values = torch.stack([part.double() for part in parts.values()]).tolist()
        return Readings(**dict(zip(parts, values, strict=True)))

    def _guarded(self, guard: str, call: Callable[[], T], *, otherwise: T) -> T:
        if guard in self._off:
            return otherwise
        try:
            return call()
        except torch.OutOfMemoryError:  # the engine's to handle: it takes the step again in smaller parts
            raise
        except Exception as error:  # whatever is wrong with a guard, training goes on without it
            self._off[guard] = f"{type(error).__name__}: {error}"
            message = f"the guard {guard} is off from now on, training goes on: {self._off[guard]}"
            log.warning("%s", message, exc_info=error)
            self._events.append(GuardEvent(guard=guard, reason="GuardOff", message=message))
            return otherwise
