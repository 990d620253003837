"""One call per step over all guards, one read per log point."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
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

JUDGED_STEPS: Final = 10
"""Steps that are judged together. The kernels of the guards have little to compute and cost their launch, so ten steps
at once cost a tenth. A later verdict costs little: a non-finite step is never taken and a large gradient is clipped at
once, whatever the verdict will be; a poison row comes again an epoch later. Half of the engine's log interval."""
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
    """Whether both are finite: whether the step is taken."""
    rows: Tensor | None = None
    """Row numbers of the batch, as the quarantine let them pass; None: no row is judged."""
    losses: Tensor | None = None
    """Their losses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """How the optimiser shall take the step; tensors of one element on the device."""

    grad_scale: Tensor
    """What the gradients have to be divided by, 1 or more."""
    lr_multiplier: Tensor
    """What the scheduled learning rate is multiplied with."""


def _alike(first: StepSignals, second: StepSignals) -> bool:
    """Whether two steps can be judged together: batches of the same size."""
    sizes = [None if each.rows is None else each.rows.shape for each in (first, second)]
    return sizes[0] == sizes[1]


def _saved(signals: StepSignals) -> dict[str, Tensor]:
    """Copies: a view of a whole epoch's rows would be saved with all of them."""
    values = {field.name: getattr(signals, field.name) for field in fields(signals)}
    return {name: value.clone() for name, value in values.items() if value is not None}


def _restored(saved: Mapping[str, Tensor], *, device: torch.device) -> StepSignals:
    return StepSignals(**{name: value.to(device) for name, value in saved.items()})


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
        self._none = torch.zeros((), dtype=torch.int64, device=device)
        self._places = torch.arange(1, JUDGED_STEPS + 1, device=device)
        self._pending: list[StepSignals] = []
        self._scales: list[Tensor] = []
        self._ceiling = math.inf
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

    def step(self, signals: StepSignals, *, max_grad_norm: float) -> Decision:
        """Take in one step, before the optimiser does; `max_grad_norm`: ceiling of the clipping threshold."""
        if self._pending and not _alike(self._pending[0], signals):
            self.judge()
        scale = self._guarded(
            CLIPPER, lambda: self.clipper.grad_scale(signals.norm, ceiling=max_grad_norm), otherwise=None
        )
        if scale is None:
            scale = (signals.norm / max_grad_norm).clamp(min=1.0)
        self._ceiling = max_grad_norm
        self._pending.append(signals)
        self._scales.append(scale)
        if len(self._pending) == JUDGED_STEPS:
            self.judge()
        return Decision(grad_scale=scale, lr_multiplier=self.multiplier)

    def judge(self) -> None:
        """Let every guard take in the steps since the last judgement; `step` does so every ten steps."""
        if not self._pending:
            return
        steps, self._pending = self._pending, []
        losses = torch.stack([each.loss for each in steps])
        norms = torch.stack([each.norm for each in steps])
        taken = torch.stack([each.ok for each in steps])
        scales, self._scales = torch.stack(self._scales), []
        explained = self._guarded(QUARANTINE, lambda: self._blamed(steps), otherwise=None)
        if explained is None:
            explained = torch.zeros_like(taken)
        rescued = self._guarded(
            ADAPTER,
            lambda: self.adapter.judge(losses, norms, taken=taken, explained=explained),
            otherwise=self._none,
        )
        clips, emergencies = self._guarded(
            CLIPPER,
            lambda: self.clipper.judge(norms, scales=scales, taken=taken, ceiling=self._ceiling),
            otherwise=(self._none, self._none),
        )
        self._count(taken, clips=clips, emergencies=torch.maximum(emergencies, rescued.long()))
        self._update_multiplier()

    def validated(self, loss: float) -> None:
        """Judge the steps up to here, and take in a validation loss, which may end a plateau's patience."""
        self.judge()
        self._guarded(ADAPTER, lambda: self.adapter.validated(loss), otherwise=None)
        self._update_multiplier()

    def widen(self) -> None:
        """Forget old norms and plateaus: a warm restart, another batch or learning rate begins now."""
        self.judge()
        self._guarded(CLIPPER, self.clipper.widen, otherwise=None)
        self._guarded(ADAPTER, self.adapter.widen, otherwise=None)

    def read(self, model: nn.Module | None = None) -> GuardReport:
        """Copy all readings to the host, once; with a model, its weights are checked too. For log points only.

        Steps since the last judgement (fewer than 10) are not in it; none are after `validated`.
        """
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

    def lost_unjudged(self) -> int:
        """How many of the steps that still wait for their judgement were not taken; one host read, if any waits."""
        return int(torch.stack([~each.ok for each in self._pending]).sum()) if self._pending else 0

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
            "told": asdict(self._told),
            "ceiling": self._ceiling,
            "scales": [scale.clone() for scale in self._scales],
            "pending": [_saved(each) for each in self._pending],
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
        device = self.multiplier.device
        self._ceiling = state["ceiling"]
        self._scales = [scale.to(device) for scale in state["scales"]]
        self._pending = [_restored(each, device=device) for each in state["pending"]]
        # What was told before the checkpoint is not told again, what was not is.
        self._told, self._events = Readings(**state["told"]), []

    def _blamed(self, steps: list[StepSignals]) -> Tensor | None:
        rows = [each.rows for each in steps if each.rows is not None]
        losses = [each.losses for each in steps if each.losses is not None]
        if not self._settings.quarantine or not rows:
            return None
        return self.quarantine.observe(torch.stack(rows), torch.stack(losses))

    def _count(self, taken: Tensor, *, clips: Tensor, emergencies: Tensor) -> None:
        steps = len(taken)
        lost = (~taken).sum()
        shares = torch.stack([lost, clips, emergencies]) / steps
        self.recent.lerp_(shares, 1 - (1 - 1 / RECENT_STEPS) ** steps)
        last_taken = (taken * self._places[:steps]).max()  # counted from 1; 0: no step was taken
        in_a_row = self.skips[1] * (last_taken == 0) + (steps - last_taken)
        self.skips.copy_(torch.stack([self.skips[0] + lost, in_a_row]))

    def _update_multiplier(self) -> None:
        self.multiplier.copy_(self._guarded(ADAPTER, lambda: self.adapter.multiplier, otherwise=self.multiplier))

    def _readings(self, model: nn.Module | None) -> Readings:
        finite = torch.ones_like(self._none) if model is None else finite_parameters(model)
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
