"""The audit of a market training: its own steps, on its own hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import torch

from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.synthetic import CoinFlipSource, is_synthetic, read_synthetic
from trainmaster_trainer.audit.checks import check_prepared
from trainmaster_trainer.audit.findings import AuditReport
from trainmaster_trainer.audit.market import MarketPipeline, Steps, describe
from trainmaster_trainer.audit.pipeline import Prepared, ScalerFacts
from trainmaster_trainer.audit.run import audit_pipeline
from trainmaster_trainer.evaluation.baselines import Tick
from trainmaster_trainer.evaluation.predictions import Ints
from trainmaster_trainer.market.balance import epoch_rows
from trainmaster_trainer.market.bars import Bars, read_bars
from trainmaster_trainer.market.data import MarketData
from trainmaster_trainer.market.dataset import Dataset
from trainmaster_trainer.market.inputs import dataset_of_bars
from trainmaster_trainer.market.tables import is_table
from trainmaster_trainer.sources import read_source
from trainmaster_trainer.synthetic.coinflip import coin_flip

FIRST_EPOCH: Final = 0
"""The epoch whose rows are looked at; all epochs draw from the same ones."""

Prepare = Callable[[Dataset, MarketClassifierHyperparameters], MarketData]
"""What splits and scales a dataset, in place: `MarketData.prepare`."""


def market_pipeline(
    dataset: Dataset,
    hyperparameters: MarketClassifierHyperparameters,
    *,
    bars: Bars | None,
    prepare: Prepare = MarketData.prepare,
) -> MarketPipeline:
    """The newest rows of a dataset that is not scaled yet (they are copied), with the steps that training takes.

    `bars` are those that the dataset was made of; None for a table or a source that is no bars.
    """
    h = hyperparameters
    make = partial(dataset_of_bars, fingerprint="", horizon=h.horizon, dead_zone=h.dead_zone)
    return MarketPipeline.of_newest(
        dataset, steps=market_steps(h, prepare=prepare), bars=bars, make=None if bars is None else make
    )


def market_steps(h: MarketClassifierHyperparameters, *, prepare: Prepare = MarketData.prepare) -> Steps:
    """Split, scaler and oversampling of a training."""
    # A tail of the data need not fill a batch.
    small = h.model_copy(update={"batch_size": 1})

    def steps(dataset: Dataset) -> Prepared:
        data = prepare(replace(dataset, values=dataset.values.copy(), notes=()), small)
        facts = ScalerFacts(unscaled=dataset.values, mean=data.scaler.mean, deviation=data.scaler.deviation)
        return replace(describe_training(data, h), scaler=facts)

    return steps


def describe_training(data: MarketData, h: MarketClassifierHyperparameters) -> Prepared:
    """What a training's data is: for `check_prepared`, on all rows of the training itself."""
    split = data.split
    return describe(
        data.dataset,
        inputs=data.dataset.values,
        blocks=(split.train, split.validation, split.test),
        visited=split.train[_visited(data.dataset.labels[split.train], classes=len(data.dataset.classes), h=h)],
        embargo=h.embargo,
    )


def audit_market(
    pipeline: MarketPipeline, data: MarketData, h: MarketClassifierHyperparameters, *, tick: Tick = lambda: None
) -> AuditReport:
    """The audit of the pipeline, and the checks of the rows that are really trained on."""
    audit = audit_pipeline(pipeline, seed=h.seed, names=data.dataset.feature_names, tick=tick)
    known = set(audit.findings)
    more = check_prepared(describe_training(data, h))
    return audit.with_findings(finding for finding in more if finding not in known)


def bars_of(source: str, *, volumes: Mapping[str, str]) -> Bars | None:
    """The bars of a source, read once more; None where it has none. Raises DataError and ConfigurationError."""
    if not is_synthetic(source):
        file = read_source(source, volumes=volumes)
        return None if is_table(file) else read_bars(file)
    wanted = read_synthetic(source)
    if isinstance(wanted, CoinFlipSource):
        return coin_flip(read_bars(read_source(wanted.of, volumes=volumes)), seed=wanted.seed)
    return None


def _visited(targets: Ints, *, classes: int, h: MarketClassifierHyperparameters) -> Ints:
    """Positions among the train rows that an epoch visits."""
    if not h.use_oversampling:
        return np.arange(len(targets), dtype=np.int64)
    visited: Ints = epoch_rows(
        torch.from_numpy(targets), classes=classes, ratio=h.oversample_ratio, seed=h.seed, epoch=FIRST_EPOCH
    ).numpy()
    return visited
