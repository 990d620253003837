"""The workload `market-classifier`: bars in, a judged classifier out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainmaster.api.hyperparameters import MarketClassifierHyperparameters, Scalar, is_adjustable
from trainmaster_trainer.errors import ConfigurationError, DataError
from trainmaster_trainer.market.bars import Bars, read_bars
from trainmaster_trainer.market.evaluation import Scores, accuracy_half_width, prior_log_probabilities, score
from trainmaster_trainer.market.features import WARM_UP, compute_features
from trainmaster_trainer.market.labels import Labels, compute_labels
from trainmaster_trainer.market.model import HybridCNNLSTMv2
from trainmaster_trainer.market.split import Rows, Scaler, Split, walk_forward
from trainmaster_trainer.sources import read_source
from trainmaster_trainer.workload import Settings, Tick

log = logging.getLogger(__name__)

FEATURE_LIMIT: Final = 5.0
"""Standardised features are clipped here: bars have heavy tails, and one crash must not steer the first layer."""
EVALUATION_BATCH: Final = 1024
"""Windows per batch of an evaluation; a constant, since sums over other batches differ in the last bits."""
FEW_BARS: Final = 5_000
"""Fewer bars than this are worth a warning: the test block is then too small to tell skill from luck."""


class MarketClassifier:
    """Windows of standardised features, in the order of time, and the classes that followed."""

    name = "market-classifier"

    def __init__(
        self, hyperparameters: MarketClassifierHyperparameters, *, source: str, volumes: Mapping[str, str]
    ) -> None:
        """Read and prepare the data. Raises ConfigurationError and DataError with what does not fit."""
        self._hyperparameters = hyperparameters
        file = read_source(source, volumes=volumes)
        self.fingerprint = file.sha256
        self._prepare(read_bars(file))

    @property
    def settings(self) -> Settings:
        """What the engine carries out."""
        return Settings(**{name: getattr(self._hyperparameters, name) for name in Settings.__dataclass_fields__})

    @property
    def train_rows(self) -> int:
        """Training windows."""
        return len(self.split.train)

    def build_model(self) -> nn.Module:
        """A network with fresh weights."""
        h = self._hyperparameters
        return HybridCNNLSTMv2(
            features=self.inputs.shape[1],
            classes=len(self.classes),
            hidden=h.hidden_size,
            lstm_layers=h.lstm_layers,
            heads=h.attention_heads,
            dropout=h.dropout,
        )

    def training_loss(self, model: nn.Module, rows: Tensor) -> Tensor:
        """Cross entropy with label smoothing on some training windows."""
        bars = self._train[rows]
        logits = model(self._windows(bars))
        return functional.cross_entropy(
            logits, self.targets[bars], label_smoothing=self._hyperparameters.label_smoothing
        )

    def validate(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        """Log-loss (no smoothing), accuracy and macro F1 on the validation windows."""
        scores = self._judge(model, self.split.validation, tick=tick)
        return {"val_loss": scores.log_loss, "val_accuracy": scores.accuracy, "val_f1": scores.f1}

    def test(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        """The same on the test windows, beside the class prior of the training windows."""
        scores = self._judge(model, self.split.test, tick=tick)
        rows = len(self.split.test)
        known = prior_log_probabilities(self.targets[self._train], classes=len(self.classes), rows=rows)
        prior = score(known, self.targets[torch.from_numpy(self.split.test)])
        return {
            "test_accuracy": scores.accuracy,
            "test_f1": scores.f1,
            "test_log_loss": scores.log_loss,
            "prior_accuracy": prior.accuracy,
            "prior_f1": prior.f1,
            "prior_log_loss": prior.log_loss,
            "test_rows": float(rows),
        }

    def adjusted_learning_rate(self, values: Mapping[str, Scalar]) -> float:
        """The base learning rate that a directive sets. Raises ConfigurationError if it sets anything else."""
        given = dict(values)
        for name in given:
            if not is_adjustable(self.name, name=name, given=given):
                message = f"{name} cannot be changed in a living process; only learning_rate can"
                raise ConfigurationError(message)
        merged = {**self._hyperparameters.model_dump(), **given}
        try:
            return MarketClassifierHyperparameters.model_validate(merged).learning_rate
        except ValueError as error:
            message = f"the directive's values do not fit: {error}"
            raise ConfigurationError(message) from None

    def _prepare(self, bars: Bars) -> None:
        h = self._hyperparameters
        features = compute_features(bars)
        labels = compute_labels(bars.close, horizon=h.horizon, dead_zone=h.dead_zone)
        self.split = self._split(bars)
        self.scaler = Scaler.fit(features.values, rows=self.split.train)
        self.feature_names = features.names
        self.classes = labels.classes
        self._check_classes(labels)
        # The warm-up has no features; zeros there are never part of a window.
        scaled = np.nan_to_num(self.scaler.apply(features.values, limit=FEATURE_LIMIT), nan=0.0)
        self.inputs = torch.from_numpy(scaled).float()
        self.targets = torch.from_numpy(labels.values)
        self._train = torch.from_numpy(self.split.train)
        self._offsets = torch.arange(1 - h.window, 1)

    def _split(self, bars: Bars) -> Split:
        h = self._hyperparameters
        first, last = WARM_UP + h.window - 1, len(bars) - 1 - h.horizon
        if last < first:
            message = (
                f"{bars.name}: {len(bars)} bars are too few for one window: {WARM_UP} to warm up, window {h.window} "
                f"and horizon {h.horizon} need {first + h.horizon + 1}"
            )
            raise DataError(message)
        split = walk_forward(
            first=first,
            last=last,
            horizon=h.horizon,
            embargo=h.embargo,
            validation_share=h.validation_share,
            test_share=h.test_share,
        )
        if len(split.train) < h.batch_size:
            message = (
                f"{bars.name}: {len(bars)} bars leave {len(split.train)} training windows, fewer than one batch of "
                f"{h.batch_size}: give more bars or a smaller batch_size"
            )
            raise DataError(message)
        if len(bars) < FEW_BARS:
            log.warning(
                "%s: %d bars are few: an accuracy on %d test rows is uncertain by +-%.1f points (95 %%), more than "
                "most real skill; give %d bars or more",
                bars.name,
                len(bars),
                len(split.test),
                100 * accuracy_half_width(len(split.test)),
                FEW_BARS,
            )
        return split

    def _check_classes(self, labels: Labels) -> None:
        counts = np.bincount(labels.values[self.split.train], minlength=len(labels.classes))
        if (counts == 0).any():
            found = ", ".join(f"{name}: {count}" for name, count in zip(labels.classes, counts, strict=True))
            message = (
                f"the training rows lack a class ({found}; horizon {labels.horizon}, dead_zone "
                f"{self._hyperparameters.dead_zone}): there is nothing to tell apart; change dead_zone or horizon, or "
                "give bars that move"
            )
            raise DataError(message)

    def _windows(self, bars: Tensor) -> Tensor:
        """(rows, window, features), each ending at its bar; gathered, since copies would be `window` times the data."""
        return self.inputs[bars[:, None] + self._offsets]

    def _judge(self, model: nn.Module, rows: Rows, *, tick: Tick) -> Scores:
        bars = torch.from_numpy(rows)
        parts = []
        for part in torch.split(bars, EVALUATION_BATCH):
            tick()
            parts.append(functional.log_softmax(model(self._windows(part)).double(), dim=1))
        return score(torch.cat(parts), self.targets[bars])
