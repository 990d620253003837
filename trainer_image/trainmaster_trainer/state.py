"""Everything that training continues from, bit for bit on the CPU, and nothing else.

Not in it, because they follow from what is: the order of samples (`sampler`), the learning rate's shape (`schedule`).
A captured state holds tensors, numbers, strings, lists and dicts only: `torch.load(weights_only=True)` reads it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainmaster_trainer.step import StepStatistics

FORMAT = 1
"""Version of a captured state."""

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
    learning_rate: float
    """Base learning rate in force: the plan's, or that of the newest directive."""
    step: int = 0
    """Steps done, skipped ones included: the position in the data."""
    epoch: int = 0
    """Epochs done, validation included."""
    statistics: StepStatistics = field(default_factory=StepStatistics)
    history: list[ValidationRecord] = field(default_factory=list)
    best: Best | None = None
    stopped: str | None = None
    """Reason of the Stop directive that ended training; None while it goes on."""

    def offer(self, val_loss: float) -> bool:
        """Keep the present weights if they are the best so far; a loss that is not finite is never the best."""
        if not math.isfinite(val_loss) or (self.best is not None and val_loss >= self.best.val_loss):
            return False
        weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.best = Best(val_loss=val_loss, epoch=self.epoch, weights=weights)
        return True

    def capture(self, *, applied: Mapping[str, int], fingerprint: str) -> Captured:
        """All of it, the random number generators included; `applied` are the session's directives."""
        best = self.best
        return {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "learning_rate": self.learning_rate,
            "step": self.step,
            "epoch": self.epoch,
            "statistics": self.statistics.sums,
            "history": [asdict(record) for record in self.history],
            "best": None if best is None else {f: getattr(best, f) for f in ("val_loss", "epoch", "weights")},
            "stopped": self.stopped,
            "applied": dict(applied),
            "rng": capture_rng(),
        }

    def restore(self, captured: Captured) -> None:
        """Continue from a captured state; the random number generators with it."""
        self.model.load_state_dict(captured["model"])
        self.optimizer.load_state_dict(captured["optimizer"])
        self.learning_rate = captured["learning_rate"]
        self.step, self.epoch = captured["step"], captured["epoch"]
        self.statistics.sums = captured["statistics"]
        self.history = [ValidationRecord(**record) for record in captured["history"]]
        self.best = None if captured["best"] is None else Best(**captured["best"])
        self.stopped = captured["stopped"]
        restore_rng(captured["rng"])


def seed_everything(seed: int) -> None:
    """Seed the generators of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the global generator too: a workload's library may draw from it
    random.seed(seed)


def capture_rng() -> Captured:
    """The states of the global generators of torch, numpy and Python."""
    # legacy=False: a dict, told apart from the tuple by mypy no better than by us.
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002  # see seed_everything
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": {
            "key": torch.tensor(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "python": [version, list(internal), gauss],
    }


def restore_rng(captured: Captured) -> None:
    """Put the global generators back to captured states."""
    torch.set_rng_state(captured["torch"])
    saved = captured["numpy"]
    key = saved["key"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, saved["pos"], saved["has_gauss"], saved["gauss"]))  # noqa: NPY002  # see above
    version, internal, gauss = captured["python"]
    random.setstate((version, tuple(internal), gauss))
