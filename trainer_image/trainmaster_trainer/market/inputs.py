"""From a source to a dataset: bars become features and labels; feature tables and synthetic sources are ready-made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from trainmaster.api.synthetic import CoinFlipSource, HmmSource, SourceError, is_synthetic, read_synthetic
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.market.bars import Bars, read_bars
from trainmaster_trainer.market.dataset import Dataset
from trainmaster_trainer.market.features import compute_features
from trainmaster_trainer.market.labels import compute_all_labels
from trainmaster_trainer.market.tables import is_table, read_table
from trainmaster_trainer.sources import read_source
from trainmaster_trainer.synthetic.ceiling import Truth
from trainmaster_trainer.synthetic.coinflip import CoinTruth, coin_flip
from trainmaster_trainer.synthetic.hmm import make_hmm

log = logging.getLogger(__name__)

TWO_CLASSES: Final = 2
"""Of up and down a coin's chances are known; how many moves are flat is not a matter of the coin."""


def load_dataset(source: str, *, volumes: Mapping[str, str], horizon: int, dead_zone: float) -> Dataset:
    """The rows that a source gives, with labels: `horizon` rows ahead for bars, as they are for tables.

    `volumes` is the folder of each claim. Raises ConfigurationError for a source that cannot be made, DataError for
    data that cannot be used.
    """
    if not is_synthetic(source):
        file = read_source(source, volumes=volumes)
        if is_table(file):
            return read_table(file, horizon=horizon)
        return dataset_of_bars(read_bars(file), fingerprint=file.sha256, horizon=horizon, dead_zone=dead_zone)
    try:
        wanted = read_synthetic(source)
    except SourceError as error:
        raise ConfigurationError(str(error)) from None
    if isinstance(wanted, HmmSource):
        return make_hmm(wanted)
    return _twin(wanted, volumes=volumes, horizon=horizon, dead_zone=dead_zone)


def dataset_of_bars(bars: Bars, *, fingerprint: str, horizon: int, dead_zone: float) -> Dataset:
    """Features and labels of bars."""
    features = compute_features(bars)
    labels = compute_all_labels(bars, horizon=horizon, dead_zone=dead_zone)
    return Dataset(
        name=bars.name,
        fingerprint=fingerprint,
        feature_names=features.names,
        values=features.values,
        labels=labels.values,
        classes=labels.classes,
        time=bars.time,
        horizon=horizon,
        instruments=bars.instruments,
        starts=bars.starts,
    )


def _twin(source: CoinFlipSource, *, volumes: Mapping[str, str], horizon: int, dead_zone: float) -> Dataset:
    file = read_source(source.of, volumes=volumes)
    bars = coin_flip(read_bars(file), seed=source.seed)
    fingerprint = f"{file.sha256}-coin-{source.seed}"
    dataset = dataset_of_bars(bars, fingerprint=fingerprint, horizon=horizon, dead_zone=dead_zone)
    truth: Truth | None = CoinTruth(horizon=horizon) if len(dataset.classes) == TWO_CLASSES else None
    return replace(dataset, truth=truth)
