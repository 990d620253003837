"""Data that holds nothing to learn, and the pipelines that find skill in it: what an audit must not let pass.

The honest pipeline is the product's own code; each trap breaks it in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.audit.market import MarketPipeline, describe
from trainmaster_trainer.audit.pipeline import Prepared, ScalerFacts
from trainmaster_trainer.market.bars import Bars
from trainmaster_trainer.market.dataset import Dataset, Rows, usable_rows
from trainmaster_trainer.market.features import feature_names
from trainmaster_trainer.market.inputs import dataset_of_bars
from trainmaster_trainer.market.scaler import Scaler
from trainmaster_trainer.market.split import Split, split_dataset

EMBARGO: Final = 24
WINDOW: Final = 12
LIMIT: Final = 5.0
HOUR: Final = np.timedelta64(1, "h")
START: Final = np.datetime64("2020-01-01T00:00", "ns")


class Leak(StrEnum):
    """One way to break a pipeline."""

    SHUFFLED_SPLIT = "rows are shuffled before they are split"
    FEATURES_LATE = "features are those of the next bar"
    CENTRED_SMOOTHING = "a feature is smoothed over bars on both sides"
    PRICE_LEVEL = "the level of the price is a feature, and rows are shuffled"
    OVERSAMPLED_FIRST = "rare classes are repeated before a shuffled split"
    NOISY_COPIES = "noisy copies of rows are made before a shuffled split"
    SPLIT_BY_SYMBOL = "one instrument is trained on, its twin is tested on"
    SCALER_ON_ALL = "the scaler is fitted on all rows"
    SCALER_LIES = "the scaler is fitted on all rows, and says that it was not"
    SELECTION_ON_TEST = "features are chosen on all rows"
    NO_PURGE = "blocks touch, labels reach into the next one"
    NO_EMBARGO = "labels end in time, but right before the next block"
    EPOCH_SEES_TEST = "oversampling draws from all rows"
    TESTED_WHILE_STOPPING = "early stopping looks at the test rows"


def noise_bars(rows: int, *, seed: int, reversal: float = 0.0, instruments: int = 1) -> Bars:
    """Hourly bars whose volatility comes in clusters; each move takes back `reversal` of the one before.

    Several instruments move alike. With a reversal of 0 no direction can be known.
    """
    rng = np.random.default_rng(seed)
    calm = np.convolve(rng.normal(size=rows + 99), np.full(100, 0.1), mode="valid")
    moves = rng.normal(size=rows) * 0.004 * np.exp(0.3 * calm)
    for i in range(1, rows):
        moves[i] -= reversal * moves[i - 1]
    parts = [_instrument(moves, rng) for _ in range(instruments)]
    return Bars(
        name="noise",
        time=np.tile(START + HOUR * np.arange(rows), instruments),
        open=np.concatenate([part[0] for part in parts]),
        high=np.concatenate([part[1] for part in parts]),
        low=np.concatenate([part[2] for part in parts]),
        close=np.concatenate([part[3] for part in parts]),
        volume=rng.lognormal(10, 0.5, rows * instruments),
        instruments=tuple(f"i{n}" for n in range(instruments)),
        starts=tuple(rows * n for n in range(instruments)),
    )


def _instrument(moves: NDArray[np.float64], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    own = moves + rng.normal(size=len(moves)) * 0.05 * np.abs(moves)
    close = 100 * np.exp(np.cumsum(own))
    opened = np.r_[100.0, close[:-1]]
    wick = np.exp(np.abs(rng.normal(0, 0.001, (2, len(moves)))))
    return [opened, np.maximum(opened, close) * wick[0], np.minimum(opened, close) / wick[1], close]


@dataclass(frozen=True, kw_only=True)
class BrokenSteps:
    """The market workload's steps with one leak, or without any."""

    leak: Leak | None = None
    horizon: int = 6
    dead_zone: float = 0.0
    seed: int = 0

    def make(self, bars: Bars) -> Dataset:
        """Features and labels."""
        made = dataset_of_bars(bars, fingerprint="", horizon=self.horizon, dead_zone=self.dead_zone)
        if self.leak is Leak.FEATURES_LATE:
            return replace(made, values=np.r_[made.values[1:], made.values[-1:]])
        if self.leak is Leak.CENTRED_SMOOTHING:
            smooth = np.convolve(np.log(bars.close), np.full(5, 0.2), mode="same") - np.log(bars.close)
            return _with_column(made, smooth, name="smooth")
        if self.leak is Leak.PRICE_LEVEL:
            return _with_column(made, np.log(bars.close), name="level")
        return made

    def steps(self, dataset: Dataset) -> Prepared:
        """Copies, split, scaler, rows of an epoch."""
        usable = usable_rows(dataset, window=WINDOW)
        if self.leak in COPYING:
            dataset, usable = COPYING[self.leak](dataset, usable)
        split = self._split(dataset, usable)
        fitted = usable if self.leak in (Leak.SCALER_ON_ALL, Leak.SCALER_LIES) else split.train
        scaler = Scaler.fit(dataset.values, rows=fitted)
        visited = np.r_[split.train, usable[-20:]] if self.leak is Leak.EPOCH_SEES_TEST else split.train
        prepared = describe(
            dataset,
            inputs=np.nan_to_num(scaler.apply(dataset.values, limit=LIMIT)).astype(np.float32),
            blocks=(split.train, split.validation, split.test),
            visited=visited,
            embargo=EMBARGO,
        )
        selection = {"feature selection": usable} if self.leak is Leak.SELECTION_ON_TEST else {}
        return replace(
            prepared,
            fitted={"scaler": split.train if self.leak is Leak.SCALER_LIES else fitted, **selection},
            scaler=ScalerFacts(unscaled=dataset.values, mean=scaler.mean, deviation=scaler.deviation),
        )

    def _split(self, dataset: Dataset, usable: Rows) -> Split:
        if self.leak in SHUFFLING:
            return _cut(np.random.default_rng(self.seed).permutation(usable))
        if self.leak is Leak.NO_PURGE:
            return _cut(usable)
        if self.leak is Leak.SPLIT_BY_SYMBOL:
            first = usable[usable < dataset.starts[1]]
            second = usable[usable >= dataset.starts[1]]
            return Split(train=first, validation=second[:0], test=second)
        embargo = 0 if self.leak is Leak.NO_EMBARGO else EMBARGO
        split = split_dataset(dataset, usable=usable, embargo=embargo, validation_share=0.1, test_share=0.25)
        if self.leak is Leak.TESTED_WHILE_STOPPING:
            return replace(split, validation=split.test)
        return split

    def pipeline(self, bars: Bars) -> MarketPipeline:
        """What the audit gets to see."""
        return MarketPipeline.of_newest(self.make(bars), steps=self.steps, bars=bars, make=self.make)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        extra = {Leak.CENTRED_SMOOTHING: ("smooth",), Leak.PRICE_LEVEL: ("level",)}
        return (*feature_names(), *(extra.get(self.leak, ()) if self.leak else ()))


SHUFFLING: Final = frozenset({Leak.SHUFFLED_SPLIT, Leak.PRICE_LEVEL, Leak.OVERSAMPLED_FIRST, Leak.NOISY_COPIES})


def _cut(rows: Rows) -> Split:
    """65, 10 and 25 % of some rows, in the order given, without a gap."""
    first, second = round(0.65 * len(rows)), round(0.75 * len(rows))
    train, validation, test = rows[:first], rows[first:second], rows[second:]
    return Split(train=np.sort(train), validation=np.sort(validation), test=np.sort(test))


def _with_column(dataset: Dataset, column: NDArray[np.float64], *, name: str) -> Dataset:
    values = np.column_stack([dataset.values, column]).astype(np.float32)
    return replace(dataset, values=values, feature_names=(*dataset.feature_names, name))


def _oversample(dataset: Dataset, usable: Rows) -> tuple[Dataset, Rows]:
    """All classes as frequent as the most frequent one, by copies of rows."""
    rng = np.random.default_rng(0)
    by_class = [usable[dataset.labels[usable] == label] for label in range(len(dataset.classes))]
    most = max(len(rows) for rows in by_class)
    rows = np.concatenate([np.r_[rows, rng.choice(rows, most - len(rows))] for rows in by_class if len(rows)])
    return _copied(dataset, rows)


def _noisy_copies(dataset: Dataset, usable: Rows) -> tuple[Dataset, Rows]:
    """Each row twice, the second time with a little noise."""
    copied, rows = _copied(dataset, np.r_[usable, usable])
    scale = 0.01 * dataset.values[usable].std(axis=0)
    copied.values[len(usable) :] += np.random.default_rng(0).normal(size=(len(usable), len(scale))) * scale
    return copied, rows


def _copied(dataset: Dataset, rows: Rows) -> tuple[Dataset, Rows]:
    """A dataset of copies of rows, in this order."""
    copied = replace(
        dataset,
        values=dataset.values[rows].copy(),
        labels=dataset.labels[rows],
        time=dataset.time[rows],
        horizon=dataset.horizon,
    )
    return copied, np.arange(len(rows))


COPYING: Final[dict[Leak | None, Callable[[Dataset, Rows], tuple[Dataset, Rows]]]] = {
    Leak.OVERSAMPLED_FIRST: _oversample,
    Leak.NOISY_COPIES: _noisy_copies,
}


@dataclass(frozen=True, kw_only=True)
class Imbalanced:
    """A table of noise: `share` of the labels are of the rare class, whatever the features say."""

    rows: int = 3_000
    share: float = 0.1
    seed: int = 0
    leak: Leak | None = None
    steps: BrokenSteps = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", BrokenSteps(leak=self.leak))

    def pipeline(self) -> MarketPipeline:
        """What the audit gets to see."""
        rng = np.random.default_rng(self.seed)
        table = Dataset(
            name="noise",
            fingerprint="",
            feature_names=tuple(f"x{n}" for n in range(8)),
            values=rng.normal(size=(self.rows, 8)).astype(np.float32),
            labels=(rng.random(self.rows) < self.share).astype(np.int64),
            classes=("common", "rare"),
            time=START + HOUR * np.arange(self.rows),
            horizon=0,
        )
        return MarketPipeline.of_newest(table, steps=self.steps.steps)
