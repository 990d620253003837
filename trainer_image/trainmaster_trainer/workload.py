"""What the engine asks of a workload: data, model, losses and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from trainmaster.api.hyperparameters import Scalar
from trainmaster_trainer.schedule import ScheduleName

Tick = Callable[[], None]
"""Called between batches of an evaluation: reports progress, and raises when the process shall end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The hyperparameters that the engine itself carries out."""

    epochs: int
    batch_size: int
    learning_rate: float
    """Base; the schedule multiplies it, a directive replaces it."""
    weight_decay: float
    lr_scheduler: ScheduleName
    scheduler_t_0: int
    scheduler_t_mult: int
    max_grad_norm: float
    seed: int


class Workload(Protocol):
    """One kind of training: everything that the engine does not know."""

    @property
    def name(self) -> str:
        """The workload's name in a manifest."""

    @property
    def settings(self) -> Settings:
        """What the engine carries out."""

    @property
    def train_rows(self) -> int:
        """Rows to train on; at least `settings.batch_size`."""

    @property
    def fingerprint(self) -> str:
        """Hash of the data: a checkpoint of other data is refused."""

    def build_model(self) -> nn.Module:
        """A model with fresh weights, drawn from torch's global generator."""

    def training_loss(self, model: nn.Module, rows: Tensor) -> Tensor:
        """The loss to minimise on some training rows; the model is in train mode."""

    def validate(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        """Metrics on the validation rows, `val_loss` (lower is better) among them; the model is in eval mode."""

    def test(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        """Metrics on the test rows; asked for once, after training."""

    def adjusted_learning_rate(self, values: Mapping[str, Scalar]) -> float:
        """The base learning rate that a directive sets. Raises ConfigurationError if it sets anything else."""
