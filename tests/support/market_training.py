"""Whole trainings of the market workload, whose forecasts are kept row by row: for benchmarks."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.support.training import RecordingSession, store
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters, Scalar
from trainmaster_trainer.engine import Engine
from trainmaster_trainer.evaluation.baselines import class_prior
from trainmaster_trainer.evaluation.calibration import prior_shift
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.market.balance import class_counts, shares_after
from trainmaster_trainer.market.data import MarketData
from trainmaster_trainer.market.inputs import load_dataset
from trainmaster_trainer.market.workload import MarketClassifier
from trainmaster_trainer.training import make_deterministic
from trainmaster_trainer.workload import TestResult, Tick

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


class StudiedWorkload(MarketClassifier):
    """The market workload; its test keeps what the best weights say on validation and test rows, and judges nothing."""

    said: Mapping[str, Floats] = {}
    """Log probabilities (rows, classes) by the name of the block; replaced whole, never changed."""

    @classmethod
    def prepare(
        cls, hyperparameters: MarketClassifierHyperparameters, *, source: str, volumes: Mapping[str, str]
    ) -> Self:
        """The data of a source. Raises what loading and splitting raise."""
        h = hyperparameters
        dataset = load_dataset(source, volumes=volumes, horizon=h.horizon, dead_zone=h.dead_zone)
        return cls(h, data=MarketData.prepare(dataset, h), source=source)

    def test(self, model: nn.Module, *, history: Sequence[tuple[int, Mapping[str, float]]], tick: Tick) -> TestResult:  # noqa: ARG002  # the protocol's names
        """No metrics; the forecasts are kept."""
        split = self.data.split
        self.said = {
            "validation": self.forecast(model, split.validation, tick=tick).numpy(),
            "test": self.forecast(model, split.test, tick=tick).numpy(),
        }
        return TestResult(metrics={})

    @property
    def shift(self) -> tuple[float, ...]:
        """What undoes the prior that oversampling and class weights have bent."""
        h, classes = self.hyperparameters, len(self.classes)
        targets = self.data.targets.cpu()[torch.from_numpy(self.data.split.train)]
        ratio = h.oversample_ratio if h.use_oversampling else None
        learnt = shares_after(class_counts(targets, classes=classes), ratio=ratio, weighted=h.use_class_weights)
        return prior_shift(class_prior(targets.numpy(), classes=classes), learnt.numpy())


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A training to be done, in a process of its own or in this one."""

    values: Mapping[str, Scalar]
    source: str
    volumes: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Study:
    """One finished training, row by row: table, split, and what the best weights said."""

    inputs: NDArray[np.float32]
    """The whole table (rows, features), standardised on the train rows."""
    targets: Rows
    """Of the whole table; what is no class is negative."""
    classes: int
    train: Rows
    validation: Rows
    test: Rows
    shift: tuple[float, ...]
    """What undoes the bent prior."""
    validation_said: Floats
    """Log probabilities (rows, classes) as trained, not calibrated."""
    test_said: Floats
    epochs: int
    """Epochs that were trained."""
    best_epoch: int
    seconds: float


def study(task: Task) -> Study:
    """Train to the end on one thread: the same bits, whatever runs beside it."""
    make_deterministic(threads=1)
    began = time.perf_counter()
    hyperparameters = MarketClassifierHyperparameters.model_validate(dict(task.values))
    workload = StudiedWorkload.prepare(hyperparameters, source=task.source, volumes=task.volumes)
    session = RecordingSession()
    with tempfile.TemporaryDirectory() as folder:
        Engine(workload, store=store(Path(folder)), session=session, interruption=Interruption()).run()
    losses = [_finite(point["metrics"]["val_loss"]) for point in session.of("validation")]
    split = workload.data.split
    return Study(
        inputs=workload.data.inputs.cpu().numpy(),
        targets=workload.data.targets.cpu().numpy(),
        classes=len(workload.classes),
        train=split.train,
        validation=split.validation,
        test=split.test,
        shift=workload.shift,
        validation_said=workload.said["validation"],
        test_said=workload.said["test"],
        epochs=len(losses),
        best_epoch=1 + losses.index(min(losses)),
        seconds=time.perf_counter() - began,
    )


def _finite(value: Any) -> float:  # noqa: ANN401  # a point's metric, which may be a word for NaN
    number = float(value)
    return number if math.isfinite(number) else math.inf
