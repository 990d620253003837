"""The market workload's steps as the audit runs them: on its newest rows, with the workload's own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.audit.pipeline import AUDIT_ROWS, Prepared, Relabel
from trainmaster_trainer.evaluation.predictions import Floats, Ints, Times
from trainmaster_trainer.market.bars import Bars
from trainmaster_trainer.market.dataset import Dataset
from trainmaster_trainer.synthetic.coinflip import coin_flip

Steps = Callable[[Dataset], Prepared]
"""Split, scaler, oversampling: the workload's own, on any dataset."""
Make = Callable[[Bars], Dataset]
"""Features and labels of bars: the workload's own."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MarketPipeline:
    """A `Pipeline` of bars, or of a ready-made table."""

    dataset: Dataset
    steps: Steps
    bars: Bars | None = None
    """None for a table: it has no directions to flip and no features that were computed here."""
    make: Make | None = None

    @classmethod
    def of_newest(
        cls, dataset: Dataset, *, steps: Steps, bars: Bars | None = None, make: Make | None = None
    ) -> MarketPipeline:
        """The pipeline of the newest AUDIT_ROWS rows, all instruments together. `bars` and `make` go together."""
        kept = np.flatnonzero(dataset.time >= _first_of_newest(dataset.time)).astype(np.int64)
        newest = None if bars is None else select_bars(bars, bars.time >= _first_of_newest(bars.time))
        return cls(dataset=dataset.select(kept), steps=steps, bars=newest, make=make)

    @property
    def horizon(self) -> int:
        """Rows of an instrument that a label reaches ahead."""
        return self.dataset.horizon

    def prepare(self, *, relabel: Relabel) -> Prepared:
        """All steps, with other labels."""
        return self.steps(replace(self.dataset, labels=relabel(self.dataset.labels)))

    def coin_flip(self, *, seed: int) -> Prepared | None:
        """All steps, features and labels included, on the coin-flip twin of the bars."""
        if self.bars is None or self.make is None:
            return None
        return self.steps(self.make(coin_flip(self.bars, seed=seed)))

    def computed(self, *, until: Any) -> tuple[Times, Floats] | None:  # noqa: ANN401  # as the protocol has it
        """Times and unscaled features of the bars up to a time."""
        if self.bars is None or self.make is None:
            return None
        bars = self.bars if until is None else select_bars(self.bars, self.bars.time <= until)
        made = self.make(bars)
        return made.time, made.values.astype(np.float64)


def select_bars(bars: Bars, kept: NDArray[np.bool_]) -> Bars:
    """Some bars; instruments without any are left out."""
    upto = np.concatenate([[0], np.cumsum(kept)])
    counts = [(name, int(upto[start]), int(upto[end])) for name, start, end in _spans(bars)]
    return Bars(
        name=bars.name,
        time=bars.time[kept],
        open=bars.open[kept],
        high=bars.high[kept],
        low=bars.low[kept],
        close=bars.close[kept],
        volume=bars.volume[kept],
        instruments=tuple(name for name, start, end in counts if start < end),
        starts=tuple(start for _, start, end in counts if start < end),
    )


def describe(
    dataset: Dataset, *, inputs: NDArray[np.float32], blocks: tuple[Ints, Ints, Ints], visited: Ints, embargo: int
) -> Prepared:
    """What steps made of a dataset: scaled `inputs`, rows of train, validation and test, rows that an epoch visits.

    Facts about the scaler and other fitted steps are added with `dataclasses.replace`.
    """
    train, validation, test = blocks
    return Prepared(
        features=inputs,
        labels=dataset.labels,
        times=dataset.time,
        label_ends=label_ends(dataset),
        classes=len(dataset.classes),
        horizon=dataset.horizon,
        embargo=embargo,
        train=train,
        validation=validation,
        test=test,
        visited=visited,
    )


def label_ends(dataset: Dataset) -> Times:
    """When each row's label is known: the time of its instrument's row `horizon` later, the last one at most."""
    ends = np.empty_like(dataset.time)
    for start, end in zip(dataset.starts, dataset.ends, strict=True):
        rows = np.minimum(np.arange(start, end) + dataset.horizon, end - 1)
        ends[start:end] = dataset.time[rows]
    return ends


def _first_of_newest(times: Times) -> Any:  # noqa: ANN401  # a time, of whatever kind
    return np.partition(times, max(len(times) - AUDIT_ROWS, 0))[max(len(times) - AUDIT_ROWS, 0)]


def _spans(bars: Bars) -> list[tuple[str, int, int]]:
    return list(zip(bars.instruments, bars.starts, (*bars.starts[1:], len(bars)), strict=True))
