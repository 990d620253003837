"""What the engine asks of a workload: data, model, losses and metrics.

The engine knows steps, epochs and numbers; a workload knows what they mean. A third party registers its own by an entry
point of the group `trainmaster.workloads`: a function `(plan) -> Workload`, named as `spec.workload` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import torch
from torch import Tensor, nn

from trainmaster.api.hyperparameters import Scalar
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster_trainer.evaluation.report import Artifact
from trainmaster_trainer.guards import GuardSettings
from trainmaster_trainer.precision import PrecisionName

Tick = Callable[[], None]
"""Called between batches of an evaluation: reports progress, and raises when the process shall end."""

Knobs = Mapping[str, float]
"""The schedulable hyperparameters' values at one step, by name."""

WEIGHT_DECAY: Final = "weight_decay"
"""With the learning rate, the knobs that the engine itself turns; a workload may have more."""
MAX_GRAD_NORM: Final = "max_grad_norm"


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSpec:
    """What a detector may make of a metric."""

    direction: Literal["min", "max"]
    """Which way is better."""
    chance: float | None = None
    """Its value for a model that has learnt nothing but the frequencies of the classes; None where unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The hyperparameters that the engine itself carries out."""

    epochs: int
    batch_size: int
    """Rows of one optimiser step, over all slices and processes."""
    knobs: Knobs
    """Base values of all schedulable hyperparameters: learning_rate, weight_decay and max_grad_norm, and the
    workload's own. Schedules shape them, a directive replaces them."""
    guards: GuardSettings
    schedules: tuple[ParameterSchedule, ...] = ()
    """At most one owner for each knob and step."""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest value of a knob, whatever a correction makes of its schedule."""
    seed: int = 0
    gradient_accumulation_steps: int = 1
    """Slices that a step's batch is computed in."""
    precision: PrecisionName = "float32"
    device: str = "cpu"
    early_stopping_patience: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TestResult:
    """What the test rows say about the best weights."""

    metrics: Mapping[str, float]
    artifacts: tuple[Artifact, ...] = ()


class Workload(Protocol):
    """One kind of training: everything that the engine does not know."""

    @property
    def name(self) -> str:
        """The workload's name in a manifest."""

    @property
    def settings(self) -> Settings:
        """What the engine carries out."""

    @property
    def metrics(self) -> Mapping[str, MetricSpec]:
        """What detectors may look at, by the metric's name in validation points."""

    @property
    def train_rows(self) -> int:
        """Rows to train on."""

    @property
    def visits(self) -> int:
        """Rows that one epoch visits, repeats included; at least `settings.batch_size`."""

    @property
    def fingerprint(self) -> str:
        """Hash of the data: a checkpoint of other data is refused."""

    def to(self, device: torch.device) -> None:
        """Move the data that `losses` reads."""

    def build_model(self) -> nn.Module:
        """A model with fresh weights, drawn from torch's global generator."""

    def begin(self, *, tick: Tick) -> None:
        """Look at the data before the first step of a training; raises DataError where training would be in vain.

        Not called where training continues from a checkpoint.
        """

    def configure(self, model: nn.Module, knobs: Knobs) -> None:
        """Put knobs into the model that are part of it, such as dropout; called when one of them has changed."""

    def epoch_rows(self, epoch: int) -> Tensor:
        """The `visits` row numbers that an epoch visits, before they are shuffled: a pure function of the epoch."""

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        """(rows,) the loss of each training row; the model is in train mode, and the engine takes the mean.

        Draws from torch's global generator only, which is seeded for each slice of each step; reads nothing back from
        the device.
        """

    def validate(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        """Metrics on the validation rows, `val_loss` (lower is better) among them; the model is in eval mode."""

    def test(self, model: nn.Module, *, history: Sequence[tuple[int, Mapping[str, float]]], tick: Tick) -> TestResult:
        """Metrics on the test rows and files about the model; asked for once, after training.

        `history` holds epoch and metrics of all validation points.
        """

    def adjusted(self, values: Mapping[str, Scalar]) -> Knobs:
        """The base values that a directive sets. Raises ConfigurationError for what cannot be changed in training."""
