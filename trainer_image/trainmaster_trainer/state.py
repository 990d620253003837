"""Everything that training continues from, bit for bit on the CPU, and nothing else.

Not in it, because they follow from what is: the order of samples and the random numbers of each step (`sampler`), and
all schedules but those that listen to a metric. A captured state holds tensors, numbers, strings, lists and dicts only:
`torch.load(weights_only=True)` reads it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from trainmaster_trainer.early_stopping import Patience
from trainmaster_trainer.guards import GuardReport, IntegrationManager
from trainmaster_trainer.memory import Slices
from trainmaster_trainer.parameters import ParamScheduler
from trainmaster_trainer.sampler import derived_seed
from trainmaster_trainer.step import StepStatistics

FORMAT = 2
"""Version of a captured state."""

NUMPY_SEED_BITS = 32
"""What numpy's global generator takes."""

TROUBLES: Final = ("guards.nonfinite_steps", "gradient_clipper.emergency_clips", "lr_adapter.total_changes")
"""Counters of the guards whose rise makes a step unclean."""

Captured = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationRecord:
    """One epoch's validation point, as it was reported."""

    generation: int
    step: int
    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """The weights with the lowest validation loss so far."""

    val_loss: float
    epoch: int
    weights: dict[str, Tensor]


@dataclass(kw_only=True, slots=True)
class TrainingState:
    """Where one training stands; changed by the engine only."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedules: ParamScheduler
    guards: IntegrationManager
    patience: Patience
    slices: Slices
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    """Steps done, skipped ones included: the position in the data."""
    epoch: int = 0
    """Epochs done, validation included."""
    statistics: StepStatistics = field(default_factory=StepStatistics)
    history: list[ValidationRecord] = field(default_factory=list)
    best: Best | None = None
    troubles: float = 0.0
    """Skipped steps, emergencies and rescues up to the last log point."""
    trouble_step: int = 0
    """Log point at which there was a new one; 0: none so far."""
    stopped: str | None = None
    """Why training ended before its last epoch: a Stop directive, or patience; None while it goes on."""

    @property
    def clean_steps(self) -> int:
        """Steps since the log point that last saw a skipped step or an emergency."""
        return self.step - self.trouble_step

    def note_trouble(self, report: GuardReport) -> None:
        """Take in what the guards say at a log point, and what they have not judged yet."""
        troubles = sum(report.metrics[name] for name in TROUBLES)
        if troubles > self.troubles or report.emergency or self.guards.lost_unjudged():
            self.trouble_step = self.step
        self.troubles = troubles

    def offer(self, val_loss: float) -> bool:
        """Keep the present weights if they are the best so far; a loss that is not finite is never the best."""
        if not math.isfinite(val_loss) or (self.best is not None and val_loss >= self.best.val_loss):
            return False
        weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.best = Best(val_loss=val_loss, epoch=self.epoch, weights=weights)
        return True

    def capture(self, *, applied: Mapping[str, int], fingerprint: str) -> Captured:
        """All of it; `applied` are the session's directives."""
        best = self.best
        return {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedules": self.schedules.state_dict(),
            "guards": self.guards.state_dict(),
            "patience": self.patience.state_dict(),
            "slices": self.slices.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "statistics": self.statistics.sums,
            "history": [asdict(record) for record in self.history],
            "best": None if best is None else {f: getattr(best, f) for f in ("val_loss", "epoch", "weights")},
            "troubles": self.troubles,
            "trouble_step": self.trouble_step,
            "stopped": self.stopped,
            "applied": dict(applied),
        }

    def restore(self, captured: Captured) -> None:
        """Continue from a captured state."""
        self.model.load_state_dict(captured["model"])
        self.optimizer.load_state_dict(captured["optimizer"])
        self.schedules.load_state_dict(captured["schedules"])
        self.guards.load_state_dict(captured["guards"])
        self.patience.load_state_dict(captured["patience"])
        self.slices.load_state_dict(captured["slices"])
        if self.scaler is not None and captured["scaler"] is not None:
            self.scaler.load_state_dict(captured["scaler"])
        self.step, self.epoch = captured["step"], captured["epoch"]
        self.statistics.sums = captured["statistics"].to(self.statistics.sums.device)
        self.history = [ValidationRecord(**record) for record in captured["history"]]
        self.best = None if captured["best"] is None else Best(**captured["best"])
        self.troubles, self.trouble_step = captured["troubles"], captured["trouble_step"]
        self.stopped = captured["stopped"]


def seed_everything(*parts: int) -> None:
    """Seed the generators of torch, numpy and Python with a function of all parts and their order.

    Not by torch.manual_seed, which visits every kind of device that there might be: 200 us, at each slice of each step.
    """
    seed = derived_seed(*parts)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**NUMPY_SEED_BITS)  # noqa: NPY002  # the global generator too: a workload's library may draw from it
    random.seed(seed)
