"""A workload of one's own under the engine: a small regression.  trainmaster local run examples/own-workload.yaml"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from trainmaster.api.plan import Plan
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.guards import GuardSettings
from trainmaster_trainer.workload import Knobs, MetricSpec, Settings, TestResult, Tick

DEFAULTS = {"epochs": 20, "batch_size": 32, "learning_rate": 0.01, "hidden_size": 16, "rows": 2000, "seed": 0}
KNOBS = {"weight_decay": 0.01, "max_grad_norm": 5.0}  # with the learning rate, what the engine turns at each step


class Waves:
    """Learns y = sin(3 a) + b from noisy rows."""

    name = "waves"
    metrics = {"val_loss": MetricSpec(direction="min")}  # noqa: RUF012  # never changed

    def __init__(self, values: Mapping[str, float | str]) -> None:
        if unknown := set(values) - set(DEFAULTS):
            message = f"waves has no hyperparameters {sorted(unknown)}; it has {sorted(DEFAULTS)}"
            raise ConfigurationError(message)
        self.values = {name: type(default)(values.get(name, default)) for name, default in DEFAULTS.items()}
        rows, seed, rate = int(self.values["rows"]), int(self.values["seed"]), float(self.values["learning_rate"])
        self.settings = Settings(
            epochs=int(self.values["epochs"]),
            batch_size=int(self.values["batch_size"]),
            knobs={"learning_rate": rate, **KNOBS},
            guards=GuardSettings(learning_rate=rate),
            seed=seed,
        )
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.rand(rows, 2, generator=generator) * 2 - 1
        noise = 0.1 * torch.randn(rows, generator=generator)
        self.targets = torch.sin(3 * self.inputs[:, 0]) + self.inputs[:, 1] + noise
        # The first 70 % are trained on, then 15 % choose the best epoch; the last 15 % are for the verdict.
        self.train_rows = self.visits = rows * 70 // 100
        self.test_from = rows * 85 // 100
        self.fingerprint = f"waves of {rows} rows from seed {seed}"  # of a file: its hash

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(plan.hyperparameters)  # a workload that reads files finds plan.data_source and plan.volumes

    def to(self, device: torch.device) -> None:
        self.inputs, self.targets = self.inputs.to(device), self.targets.to(device)

    def build_model(self) -> nn.Module:
        hidden = int(self.values["hidden_size"])
        return nn.Sequential(nn.Linear(2, hidden), nn.GELU(), nn.Linear(hidden, 1), nn.Flatten(0))

    def begin(self, *, tick: Tick) -> None:
        """Nothing to doubt: the data is made."""

    def configure(self, model: nn.Module, knobs: Knobs) -> None:
        """No knob is part of the model."""

    def epoch_rows(self, epoch: int) -> Tensor:
        return torch.arange(self.train_rows)

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        errors: Tensor = model(self.inputs[rows]) - self.targets[rows]
        return errors.square()

    def validate(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        tick()
        return {"val_loss": self._error(model, slice(self.train_rows, self.test_from))}

    def test(self, model: nn.Module, *, history: Sequence[tuple[int, Mapping[str, float]]], tick: Tick) -> TestResult:
        tick()
        return TestResult(metrics={"test_loss": self._error(model, slice(self.test_from, None))})

    def adjusted(self, values: Mapping[str, float | str]) -> Knobs:
        if unknown := set(values) - {"learning_rate"}:
            message = f"{sorted(unknown)} cannot be changed in a living process; learning_rate can"
            raise ConfigurationError(message)
        return {name: float(value) for name, value in values.items()}

    @torch.inference_mode()
    def _error(self, model: nn.Module, rows: slice) -> float:
        return float((model(self.inputs[rows]) - self.targets[rows]).square().mean())
