"""A workload that trains in milliseconds, and a session that records: for tests of the engine."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster_trainer.checkpoint import CheckpointStore, final_state_digest
from trainmaster_trainer.engine import Engine, Resume
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.guards import GuardSettings
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.workload import Knobs, MetricSpec, Settings, TestResult, Tick

ROWS = 22
STEPS_PER_EPOCH = 5
EPOCHS = 3
STEPS = EPOCHS * STEPS_PER_EPOCH


TOY_SETTINGS = Settings(
    epochs=EPOCHS,
    batch_size=4,
    knobs={"learning_rate": 0.05, "weight_decay": 0.01, "max_grad_norm": 1.0},
    guards=GuardSettings(learning_rate=0.05),
    seed=3,
)


class ToyWorkload:
    """Regression of noise by a net with dropout: every part of the state matters for the next step."""

    name = "toy"
    train_rows = ROWS

    visits = ROWS
    metrics: ClassVar = {"val_loss": MetricSpec(direction="min")}

    def __init__(self, *, fingerprint: str = "toy data", cosine: bool = True, **settings: Any) -> None:  # noqa: ANN401  # any of Settings
        self.fingerprint = fingerprint
        shape = ParameterSchedule(parameter="learning_rate", strategy="cosine", to="0", every=1, growth=2)
        self.settings = replace(TOY_SETTINGS, schedules=(shape,) if cosine else (), **settings)
        generator = torch.Generator().manual_seed(11)
        self.inputs = torch.randn(ROWS, 3, generator=generator)
        self.targets = torch.randn(ROWS, 1, generator=generator)

    def to(self, device: torch.device) -> None:
        self.inputs, self.targets = self.inputs.to(device), self.targets.to(device)

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1))

    def begin(self, *, tick: Tick) -> None:
        pass

    def configure(self, model: nn.Module, knobs: Knobs) -> None:
        pass

    def epoch_rows(self, epoch: int) -> Tensor:  # noqa: ARG002  # the same in each
        return torch.arange(ROWS)

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:  # noqa: ARG002  # has no knobs of its own
        # Noise from each generator that is seeded for each slice; dropout draws from torch's.
        noise = random.random() + np.random.random()  # noqa: NPY002  # the global one is what is tested
        errors: Tensor = model(self.inputs[rows]) - self.targets[rows] - 0.1 * noise
        return errors.square().squeeze(1)

    def validate(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        tick()
        loss = float(nn.functional.mse_loss(model(self.inputs), self.targets))
        return {"val_loss": loss}

    def test(self, model: nn.Module, *, history: Any, tick: Tick) -> TestResult:  # noqa: ANN401, ARG002  # draws no curves
        tick()
        return TestResult(metrics={"test_loss": float(nn.functional.mse_loss(model(self.inputs), self.targets))})

    def adjusted(self, values: Mapping[str, Any]) -> Knobs:
        if set(values) != {"learning_rate"}:
            raise ConfigurationError(f"only learning_rate can be changed, not {sorted(values)}")  # noqa: EM102  # a test's own
        return {"learning_rate": float(values["learning_rate"])}


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyDirective:
    """A directive as the SDK would hand it out."""

    id: str
    kind: str = "Adjust"
    generation: int = 2
    at_step: int = 0
    set: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


class RecordingSession:
    """Keeps what the engine reports; hands out directives at their steps as the launcher's SDK does."""

    def __init__(self, *directives: ToyDirective, applied: Mapping[str, int] | None = None) -> None:
        self._directives = directives
        self.applied_directives: dict[str, int] = dict(applied or {})
        self.points: list[dict[str, Any]] = []
        self.checkpoints: list[dict[str, Any]] = []
        self.phases: list[tuple[str, int]] = []
        self.storage_failures: list[str] = []
        self.ended: dict[str, Any] | None = None

    @property
    def generation(self) -> int:
        return max([1, *(each.generation for each in self._directives if each.id in self.applied_directives)])

    def progress(self, phase: str, **at: Any) -> None:  # noqa: ANN401  # records whatever it is told
        self.phases.append((phase, at["step"]))

    def point(self, kind: str, **point: Any) -> None:  # noqa: ANN401  # records whatever it is told
        self.points.append({"kind": kind, **point, "generation": point.get("generation") or self.generation})

    def checkpoint(self, **checkpoint: Any) -> None:  # noqa: ANN401  # records whatever it is told
        self.checkpoints.append(checkpoint)

    def due(self, step: int) -> list[ToyDirective]:
        return [d for d in self._directives if d.id not in self.applied_directives and d.at_step <= step]

    def applied(self, directive: Any, *, step: int) -> None:  # noqa: ANN401  # as the Session protocol
        self.applied_directives[directive.id] = step

    def done(self, **verdict: Any) -> None:  # noqa: ANN401  # records whatever it is told
        self.ended = verdict

    def storage_failed(self, message: str) -> None:
        self.storage_failures.append(message)

    def close(self) -> None:
        pass

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Points of one kind."""
        return [point for point in self.points if point["kind"] == kind]


class EndAt(Interruption):
    """Asks the process to end at the n-th look at the flag."""

    def __init__(self, look: int) -> None:
        super().__init__()
        self._looks_left = look

    @property
    def requested(self) -> bool:
        self._looks_left -= 1
        return self._looks_left < 0

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


def store(root: Path, *, launch: int = 1, keep_last: int = 3, keep_best: int = 1) -> CheckpointStore:
    """The checkpoints under a folder, seen from a launch."""
    return CheckpointStore(root, launch=launch, keep_last=keep_last, keep_best=keep_best)


def start(
    root: Path,
    *directives: ToyDirective,
    launch: int = 1,
    every_steps: int | None = None,
    interruption: Interruption | None = None,
    workload: Any = None,  # noqa: ANN401  # any workload, a broken one too
) -> tuple[Engine, RecordingSession]:
    """An engine as `training.train` makes one: continues from the newest checkpoint under `root`."""
    checkpoints = store(root, launch=launch)
    found = checkpoints.newest()
    resume = None if found is None else Resume(manifest=found[0], captured=found[1])
    session = RecordingSession(*directives, applied={} if resume is None else resume.captured["applied"])
    engine = Engine(
        workload or ToyWorkload(),
        store=checkpoints,
        session=session,
        interruption=interruption or Interruption(),
        every_steps=every_steps,
        resume=resume,
    )
    return engine, session


def newest_digest(root: Path) -> str:
    """Digest of the final state under a folder."""
    found = store(root, launch=10**6).newest()
    assert found is not None
    return final_state_digest(root / found[0].path)
