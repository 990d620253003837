"""From a source to a dataset: bars become features and labels; feature tables and synthetic sources are ready-made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from trainmaster.api.synthetic import CoinFlipSource, HmmSource, SourceError, is_synthetic, read_synthetic
from trainmaster_trainer.errors import ConfigurationError, DataError
from trainmaster_trainer.market.bars import Bars, read_bars
from trainmaster_trainer.market.dataset import Dataset
from trainmaster_trainer.market.features import Allocate, compute_features
from trainmaster_trainer.market.labels import compute_all_labels
from trainmaster_trainer.market.store import FeatureStore, Stored
from trainmaster_trainer.market.tables import is_table, read_table
from trainmaster_trainer.sources import SourceFile, read_source
from trainmaster_trainer.synthetic.coinflip import CoinTruth, coin_flip
from trainmaster_trainer.synthetic.hmm import make_hmm

TWO_CLASSES: Final = 2
"""Of up and down a coin's chances are known; how many moves are flat is not a matter of the coin."""


def load_dataset(  # a source and what to make of it, all by keyword
    source: str,
    *,
    volumes: Mapping[str, str],
    horizon: int,
    dead_zone: float,
    feature_store_days: int | None = None,
    store: FeatureStore | None = None,
) -> Dataset:
    """The rows that a source gives, with labels: `horizon` rows ahead for bars, as they are for tables.

    `volumes` is the folder of each claim; with `feature_store_days` only the newest days are given; with a `store`
    features are kept there. Raises ConfigurationError for a source that cannot be made, DataError for data that cannot
    be used.
    """
    dataset = _load(source, volumes=volumes, horizon=horizon, dead_zone=dead_zone, store=store)
    return dataset if feature_store_days is None else newest_days(dataset, days=feature_store_days)


def newest_days(dataset: Dataset, *, days: int) -> Dataset:
    """The rows of the newest days, counted back from the newest row of all; features keep the history they saw.

    Raises DataError for a dataset without times.
    """
    if not dataset.timed:
        message = (
            f"{dataset.name}: featureStoreDays {days} needs to know when a row was: add a column of times (`time`), or "
            "leave featureStoreDays out"
        )
        raise DataError(message)
    first = dataset.time.max() - np.timedelta64(days, "D")
    rows = np.flatnonzero(dataset.time > first).astype(np.int64)
    if len(rows) == len(dataset):
        return dataset
    note = f"of {len(dataset)} rows the newest {len(rows)} are used (featureStoreDays {days})"
    return replace(dataset.select(rows), notes=(*dataset.notes, note))


def _load(
    source: str, *, volumes: Mapping[str, str], horizon: int, dead_zone: float, store: FeatureStore | None
) -> Dataset:
    if not is_synthetic(source):
        file = read_source(source, volumes=volumes)
        return _read(file, file.sha256, horizon=horizon, dead_zone=dead_zone, store=store)
    try:
        wanted = read_synthetic(source)
    except SourceError as error:
        raise ConfigurationError(str(error)) from None
    if isinstance(wanted, HmmSource):
        return make_hmm(wanted)
    file = read_source(wanted.of, volumes=volumes)
    return _twin(file, wanted, horizon=horizon, dead_zone=dead_zone, store=store)


def _read(file: SourceFile, fingerprint: str, *, horizon: int, dead_zone: float, store: FeatureStore | None) -> Dataset:
    def build(allocate: Allocate | None) -> Stored:
        return read_table(file, allocate=allocate) if is_table(file) else stored_bars(read_bars(file), allocate)

    stored = build(None) if store is None else store.fetch(fingerprint, build=build)
    return dataset_of(stored, name=file.name, fingerprint=fingerprint, horizon=horizon, dead_zone=dead_zone)


def _twin(
    file: SourceFile, wanted: CoinFlipSource, *, horizon: int, dead_zone: float, store: FeatureStore | None
) -> Dataset:
    def build(allocate: Allocate | None) -> Stored:
        return stored_bars(coin_flip(read_bars(file), seed=wanted.seed), allocate)

    fingerprint = f"{file.sha256}-coin-{wanted.seed}"
    stored = build(None) if store is None else store.fetch(fingerprint, build=build)
    name = f"coin-flip twin of {file.name}"
    dataset = dataset_of(stored, name=name, fingerprint=fingerprint, horizon=horizon, dead_zone=dead_zone)
    known = len(dataset.classes) == TWO_CLASSES
    return replace(dataset, truth=CoinTruth(horizon=horizon)) if known else dataset


def stored_bars(bars: Bars, allocate: Allocate | None = None) -> Stored:
    """Features of bars, and what labels are made of."""
    features = compute_features(bars, allocate=allocate)
    return Stored(
        feature_names=features.names,
        values=features.values,
        time=bars.time,
        instruments=bars.instruments,
        starts=bars.starts,
        close=bars.close,
        notes=bars.notes,
    )


def dataset_of_bars(bars: Bars, *, fingerprint: str, horizon: int, dead_zone: float) -> Dataset:
    """Features and labels of bars, in memory."""
    stored = stored_bars(bars)
    return dataset_of(stored, name=bars.name, fingerprint=fingerprint, horizon=horizon, dead_zone=dead_zone)


def dataset_of(stored: Stored, *, name: str, fingerprint: str, horizon: int, dead_zone: float) -> Dataset:
    """Features with labels: made from closes, or those of the table. Raises DataError where there are neither."""
    labels, classes = stored.labels, stored.classes
    if stored.close is not None:
        made = compute_all_labels(stored.close, starts=stored.starts, horizon=horizon, dead_zone=dead_zone)
        labels, classes = made.values, made.classes
    if labels is None:
        message = f"{name}: what is stored has neither closes nor labels"
        raise DataError(message)
    return Dataset(
        name=name,
        fingerprint=fingerprint,
        feature_names=stored.feature_names,
        values=stored.values,
        labels=labels,
        classes=classes,
        time=stored.time,
        horizon=horizon,
        timed=stored.timed,
        instruments=stored.instruments,
        starts=stored.starts,
        notes=stored.notes,
    )
