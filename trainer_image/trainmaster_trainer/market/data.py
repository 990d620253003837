"""The data of one training: split in time, standardised on the train rows, ready to be gathered as windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster_trainer.errors import DataError
from trainmaster_trainer.evaluation.baselines import Block, last_known_labels
from trainmaster_trainer.market.checks import drifted_columns
from trainmaster_trainer.market.dataset import Dataset, Rows, usable_rows
from trainmaster_trainer.market.evaluation import accuracy_half_width
from trainmaster_trainer.market.scaler import Scaler
from trainmaster_trainer.market.split import Split, split_dataset

FEATURE_LIMIT: Final = 5.0
"""Standardised features are clipped here: bars have heavy tails, and one crash must not steer the first layer."""
FEW_ROWS: Final = 5_000
"""Fewer rows than this are worth a warning: the test block is then too small to tell skill from luck."""


@dataclass(kw_only=True, slots=True)
class MarketData:
    """Rows, and which of them are trained on, chosen by and judged on."""

    dataset: Dataset
    split: Split
    scaler: Scaler
    inputs: Tensor
    """(rows, features), standardised; float32."""
    targets: Tensor
    """(rows,) classes; what is no class is negative."""
    window: int
    remarks: tuple[str, ...]
    """What a person should know about these rows, in sentences."""
    _offsets: Tensor

    @classmethod
    def prepare(
        cls, dataset: Dataset, hyperparameters: MarketClassifierHyperparameters, *, split: Split | None = None
    ) -> MarketData:
        """Split (unless a split is given), check, standardise. The dataset's own values are standardised in place.

        Raises DataError where there is too little to train on, or nothing to tell apart.
        """
        h = hyperparameters
        chosen = split or _split(dataset, h)
        _check(dataset, chosen, h)
        drifted = drifted_columns(dataset, chosen)  # standardising clips what they show
        scaler = Scaler.fit(dataset.values, rows=chosen.train)
        scaler.scale(dataset.values, limit=FEATURE_LIMIT)
        constant = [f"feature {dataset.feature_names[column]} is constant in the train rows: it is left out"
                    for column in scaler.constant]  # fmt: skip
        return cls(
            dataset=dataset,
            split=chosen,
            scaler=scaler,
            inputs=torch.from_numpy(dataset.values),
            targets=torch.from_numpy(dataset.labels),
            window=h.window,
            remarks=(*dataset.notes, *map(str, drifted), *constant, *_few_rows(dataset, chosen)),
            _offsets=torch.arange(1 - h.window, 1),
        )

    def to(self, device: torch.device) -> None:
        """Move what windows are gathered from: a data set of this kind fits a GPU many times."""
        self.inputs, self.targets = self.inputs.to(device), self.targets.to(device)
        self._offsets = self._offsets.to(device)

    def windows(self, ends: Tensor) -> Tensor:
        """(rows, window, features), each ending at its row; gathered, since copies would be `window` times the data."""
        return self.inputs[ends[:, None] + self._offsets]

    def block(self, rows: Rows) -> Block:
        """Rows as baselines look at them."""
        known = last_known_labels(self.dataset.labels, horizon=self.dataset.horizon, starts=self.dataset.starts)
        return Block(
            inputs=self.dataset.values,
            rows=rows,
            targets=self.dataset.labels[rows],
            last_labels=known[rows],
            times=self.dataset.time[rows],
        )


def _split(dataset: Dataset, h: MarketClassifierHyperparameters) -> Split:
    usable = usable_rows(dataset, window=h.window)
    if not len(usable):
        message = (
            f"{dataset.name}: {len(dataset)} rows are too few for one window: no {h.window} rows in a row are complete "
            f"and have a label {h.horizon} rows later"
        )
        raise DataError(message)
    return split_dataset(
        dataset, usable=usable, embargo=h.embargo, validation_share=h.validation_share, test_share=h.test_share
    )


def _check(dataset: Dataset, split: Split, h: MarketClassifierHyperparameters) -> None:
    if len(split.train) < h.batch_size:
        message = (
            f"{dataset.name}: {len(dataset)} rows leave {len(split.train)} training windows, fewer than one batch of "
            f"{h.batch_size}: give more rows or a smaller batch_size"
        )
        raise DataError(message)
    counts = np.bincount(dataset.labels[split.train], minlength=len(dataset.classes))
    if (counts == 0).any():
        found = ", ".join(f"{name}: {count}" for name, count in zip(dataset.classes, counts, strict=True))
        message = (
            f"the training rows lack a class ({found}; horizon {h.horizon}, dead_zone {h.dead_zone}): there is nothing "
            "to tell apart; change dead_zone or horizon, or give bars that move"
        )
        raise DataError(message)


def _few_rows(dataset: Dataset, split: Split) -> tuple[str, ...]:
    if len(dataset) >= FEW_ROWS:
        return ()
    points = 100 * accuracy_half_width(len(split.test))
    remark = (
        f"{len(dataset)} rows are few: an accuracy on {len(split.test)} test rows is uncertain by +-{points:.1f} "
        f"points (95 %), more than most real skill; give {FEW_ROWS} rows or more"
    )
    return (remark,)
