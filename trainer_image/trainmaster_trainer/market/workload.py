"""The workload `market-classifier`: bars or feature tables in, a judged classifier out."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainmaster.api.catalogue import knob_limits
from trainmaster.api.hyperparameters import (
    ADJUSTABLE,
    SCHEDULABLE,
    MarketClassifierHyperparameters,
    Scalar,
    is_adjustable,
)
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster.api.plan import Plan
from trainmaster_trainer.audit.findings import AuditReport, Severity
from trainmaster_trainer.audit.market import MarketPipeline
from trainmaster_trainer.audit.steps import audit_market, bars_of, market_pipeline
from trainmaster_trainer.configs import check_schedules
from trainmaster_trainer.errors import ConfigurationError, DataError
from trainmaster_trainer.guards import GuardSettings
from trainmaster_trainer.hyperparameters import checked_hyperparameters
from trainmaster_trainer.market.balance import class_counts, class_weights, epoch_rows, raised_counts, shares_after
from trainmaster_trainer.market.data import MarketData
from trainmaster_trainer.market.dataset import Rows
from trainmaster_trainer.market.evaluation import Scores, score
from trainmaster_trainer.market.inputs import load_dataset
from trainmaster_trainer.market.judgement import Said, judge
from trainmaster_trainer.market.losses import noisy, row_losses
from trainmaster_trainer.market.model import HybridCNNLSTMv2
from trainmaster_trainer.market.store import FeatureStore
from trainmaster_trainer.parameters import LEARNING_RATE, schedules_of
from trainmaster_trainer.workload import Knobs, MetricSpec, Settings, TestResult, Tick

log = logging.getLogger(__name__)

NAME: Final = "market-classifier"
EVALUATION_BATCH: Final = 1024
"""Windows per batch of an evaluation; a constant, since sums over other batches differ in the last bits."""
GAP_ROWS: Final = 8_192
"""Train rows, evenly spread, on which the train loss is measured as the validation loss is: without dropout, noise and
smoothing. The gap between the two is then overfitting and nothing else."""
DATA_DEFINING: Final = (
    "window", "horizon", "dead_zone", "validation_share", "test_share", "embargo", "batch_size", "seed",
    "use_oversampling", "oversample_ratio",
)  # fmt: skip
"""Hyperparameters of which a training may not change one half way: train rows would become test rows, or come twice."""
NEVER: Final = 10**9
"""Validations: a patience that never ends."""


class MarketClassifier:
    """Windows of standardised features, in the order of time, and the classes that followed."""

    name = NAME

    def __init__(
        self,
        hyperparameters: MarketClassifierHyperparameters,
        *,
        data: MarketData,
        schedules: tuple[ParameterSchedule, ...] = (),
        source: str = "",
        pipeline: MarketPipeline | None = None,
    ) -> None:
        """`pipeline` shows the audit how the data was made; without one there is no audit."""
        self.hyperparameters = hyperparameters
        self.data = data
        self._schedules = schedules
        self._source = source
        self._pipeline = pipeline
        self._audit: AuditReport | None = None
        self._train = torch.from_numpy(data.split.train)
        self._train_targets = data.targets[self._train]
        counts = class_counts(self._train_targets, classes=len(self.classes))
        self._counts = counts
        weights = class_weights(self._visited_counts) if hyperparameters.use_class_weights else None
        self._class_weights = weights

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        """What a plan says. Raises ConfigurationError and DataError with what does not fit."""
        if plan.data_source is None:
            message = f"the workload {NAME} needs spec.data.source"
            raise ConfigurationError(message)
        values = checked_hyperparameters(NAME, given=plan.hyperparameters)
        check_schedules(NAME, schedules=plan.parameter_schedules, hyperparameters=values)
        return cls.from_source(
            MarketClassifierHyperparameters.model_validate(values),
            source=plan.data_source,
            volumes=plan.volumes,
            schedules=plan.parameter_schedules,
            feature_store_days=plan.feature_store_days,
        )

    @classmethod
    def from_source(
        cls,
        hyperparameters: MarketClassifierHyperparameters,
        *,
        source: str,
        volumes: Mapping[str, str],
        schedules: tuple[ParameterSchedule, ...] = (),
        feature_store_days: int | None = None,
    ) -> Self:
        """Read and prepare the data of a source; `volumes` is the folder of each claim."""
        h = hyperparameters
        dataset = load_dataset(
            source,
            volumes=volumes,
            horizon=h.horizon,
            dead_zone=h.dead_zone,
            feature_store_days=feature_store_days,
            store=FeatureStore.default(),
        )
        pipeline = None
        if h.leak_audit and h.evaluation == "full":
            # A copy of the newest rows, made before the features are standardised in place.
            pipeline = market_pipeline(dataset, h, bars=bars_of(source, volumes=volumes))
        data = MarketData.prepare(dataset, h)
        for remark in data.remarks:
            log.warning("%s: %s", dataset.name, remark)
        return cls(h, data=data, schedules=schedules, source=source, pipeline=pipeline)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the model's outputs."""
        return self.data.dataset.classes

    @property
    def settings(self) -> Settings:
        """What the engine carries out."""
        h = self.hyperparameters
        knobs = {name: float(getattr(h, name)) for name in SCHEDULABLE[NAME]}
        if not h.use_focal_loss:
            knobs["focal_gamma"] = 0.0
        if not h.use_augmentation:
            knobs["gaussian_noise_std"] = 0.0
        return Settings(
            epochs=h.epochs,
            batch_size=h.batch_size,
            knobs=knobs,
            schedules=(*schedules_of(h), *self._schedules),
            limits=knob_limits(NAME),
            seed=h.seed,
            gradient_accumulation_steps=h.gradient_accumulation_steps,
            precision=h.precision,
            device=h.device,
            early_stopping_patience=h.early_stopping_patience,
            guards=GuardSettings(
                learning_rate=h.learning_rate,
                adaptive_clipping=h.adaptive_clipping,
                emergency_grad_norm=h.emergency_grad_norm,
                # One owner: where the schedule waits for plateaus, the guard does not.
                lr_plateau_patience=NEVER if self._schedule_waits_for_plateaus else h.lr_plateau_patience,
                lr_plateau_factor=h.lr_plateau_factor,
                min_learning_rate=h.min_learning_rate,
                emergency_lr_factor=h.emergency_lr_factor,
                max_lr_rescues=h.max_lr_rescues,
                quarantine=h.quarantine,
            ),
        )

    @property
    def metrics(self) -> Mapping[str, MetricSpec]:
        """What detectors may look at; chance is the class prior's."""
        prior = (self._counts / self._counts.sum()).double()
        entropy = -float((prior * prior.clamp(min=1e-12).log()).sum())
        return {
            "val_loss": MetricSpec(direction="min", chance=entropy),
            "train_eval_loss": MetricSpec(direction="min", chance=entropy),
            "val_accuracy": MetricSpec(direction="max", chance=float(prior.max())),
            "val_f1": MetricSpec(direction="max"),
        }

    @property
    def fingerprint(self) -> str:
        """Hash of the data, and of the hyperparameters that make windows, labels, blocks and batches of it."""
        made = {name: getattr(self.hyperparameters, name) for name in DATA_DEFINING}
        digest = hashlib.sha256(json.dumps([self.data.dataset.fingerprint, made], sort_keys=True).encode())
        return digest.hexdigest()

    @property
    def _schedule_waits_for_plateaus(self) -> bool:
        schedules = (*schedules_of(self.hyperparameters), *self._schedules)
        return any(each.parameter == LEARNING_RATE and each.strategy == "plateau" for each in schedules)

    @property
    def train_rows(self) -> int:
        """Training windows."""
        return len(self._train)

    @property
    def visits(self) -> int:
        """Windows that an epoch visits, repeats of oversampling included."""
        return int(self._visited_counts.sum())

    def to(self, device: torch.device) -> None:
        """Move the data."""
        self.data.to(device)
        self._train = self._train.to(device)
        if self._class_weights is not None:
            self._class_weights = self._class_weights.to(device)

    def build_model(self) -> nn.Module:
        """A network with fresh weights."""
        h = self.hyperparameters
        return HybridCNNLSTMv2(
            features=self.data.inputs.shape[1],
            classes=len(self.classes),
            hidden=h.hidden_size,
            lstm_layers=h.lstm_layers,
            heads=h.attention_heads,
            dropout=h.dropout,
        )

    def configure(self, model: nn.Module, knobs: Knobs) -> None:
        """Set the dropout between the parts, and between the layers of the LSTM."""
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = knobs["dropout"]
            elif isinstance(module, nn.LSTM) and module.num_layers > 1:
                module.dropout = knobs["dropout"]

    def begin(self, *, tick: Tick) -> None:
        """Audit the data and what was made of it. Raises DataError where the test rows reach into training."""
        if self._pipeline is None:
            return
        self._audit = audit_market(self._pipeline, self.data, self.hyperparameters, tick=tick)
        for finding in self._audit.findings:
            log.warning("leak audit: %s: %s", finding.code, finding.message)
        if self._audit.refused:
            reasons = "; ".join(finding.message for finding in self._audit.of(Severity.REFUSE))
            message = f"the leak audit refuses this data: {reasons} (leak_audit: false trains in spite of it)"
            raise DataError(message)

    def epoch_rows(self, epoch: int) -> Tensor:
        """Training windows of an epoch: each once, rare classes more often if oversampling is on."""
        h = self.hyperparameters
        if not h.use_oversampling:
            return torch.arange(self.train_rows)
        return epoch_rows(
            self._train_targets, classes=len(self.classes), ratio=h.oversample_ratio, seed=h.seed, epoch=epoch
        )

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        """The loss of each window: see `market.losses`."""
        ends = self._train[rows]
        windows = noisy(self.data.windows(ends), std=knobs["gaussian_noise_std"])
        logits = model(windows)
        if logits.shape != (expected := (len(rows), len(self.classes))):
            message = (
                f"the model gives shape {tuple(logits.shape)} for windows of shape {tuple(windows.shape)}; it has to "
                f"give logits of shape {expected}: one row for each window, one column for each class"
            )
            raise ConfigurationError(message)
        return row_losses(
            logits,
            self.data.targets[ends],
            label_smoothing=knobs["label_smoothing"],
            focal_gamma=knobs["focal_gamma"],
            class_weights=self._class_weights,
        )

    def validate(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        """Log-loss (no smoothing), accuracy and macro F1 on the validation windows; the same loss on train windows."""
        scores = self._judge(model, self.data.split.validation, tick=tick)
        train = self.data.split.train
        spread = train[np.linspace(0, len(train) - 1, min(len(train), GAP_ROWS)).astype(np.int64)]
        return {
            "val_loss": scores.log_loss,
            "val_accuracy": scores.accuracy,
            "val_f1": scores.f1,
            "train_eval_loss": self._judge(model, spread, tick=tick).log_loss,
        }

    def test(self, model: nn.Module, *, history: Sequence[tuple[int, Mapping[str, float]]], tick: Tick) -> TestResult:
        """The verdict on the test windows, beside what needs no network: see `market.judgement`."""
        split = self.data.split
        said = Said(
            validation=self.forecast(model, split.validation, tick=tick).numpy(),
            test=self.forecast(model, split.test, tick=tick).numpy(),
            trained_prior=self._trained_prior,
            history=history,
        )
        if self._audit is None:  # this process did not begin the training
            self.begin(tick=tick)
        return judge(
            model,
            said,
            data=self.data,
            hyperparameters=self.hyperparameters,
            source=self._source,
            audit=self._audit,
            tick=tick,
        )

    def adjusted(self, values: Mapping[str, Scalar]) -> Knobs:
        """The base values that a directive sets. Raises ConfigurationError for what cannot be changed in training."""
        given = dict(values)
        for name in given:
            if not is_adjustable(NAME, name=name, given=given):
                message = f"{name} cannot be changed in a living process; {', '.join(sorted(ADJUSTABLE[NAME]))} can"
                raise ConfigurationError(message)
        merged = {**self.hyperparameters.model_dump(), **given}
        try:
            model = MarketClassifierHyperparameters.model_validate(merged)
        except ValueError as error:
            message = f"the directive's values do not fit: {error}"
            raise ConfigurationError(message) from None
        return {name: float(getattr(model, name)) for name in given}

    def forecast(self, model: nn.Module, rows: Rows, *, tick: Tick = lambda: None) -> Tensor:
        """(rows, classes) log probabilities on the CPU, in double precision."""
        parts = []
        for part in torch.split(torch.from_numpy(rows).to(self._train.device), EVALUATION_BATCH):
            tick()
            with torch.inference_mode():
                parts.append(functional.log_softmax(model(self.data.windows(part)).double(), dim=1))
        return torch.cat(parts).cpu()

    @property
    def _visited_counts(self) -> Tensor:
        h = self.hyperparameters
        return raised_counts(self._counts, ratio=h.oversample_ratio) if h.use_oversampling else self._counts

    @property
    def _trained_prior(self) -> NDArray[np.float64]:
        h = self.hyperparameters
        ratio = h.oversample_ratio if h.use_oversampling else None
        shares: NDArray[np.float64] = shares_after(self._counts, ratio=ratio, weighted=h.use_class_weights).numpy()
        return shares

    def _judge(self, model: nn.Module, rows: Rows, *, tick: Tick) -> Scores:
        return score(self.forecast(model, rows, tick=tick), self.data.targets[torch.from_numpy(rows)].cpu())
