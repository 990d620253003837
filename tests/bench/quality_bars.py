"""The part of the quality benchmark that is about real bars: walk-forward blocks, forecasts joined, judged together.

Each block is a training as a user would have started it at that time: a file that ends where the block ends, and the
block as its test share. So what is measured is the product, splits, purge and embargo included.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.support.market_training import Floats, Study, Task
from trainmaster.api.hyperparameters import Scalar
from trainmaster_trainer.evaluation.baselines import (
    Block,
    fitted_baselines,
    last_known_labels,
    simple_baselines,
)
from trainmaster_trainer.evaluation.calibration import calibrate
from trainmaster_trainer.evaluation.intervals import Interval, Resampling, interval
from trainmaster_trainer.evaluation.predictions import Predictions, normalise
from trainmaster_trainer.evaluation.scores import Scores
from trainmaster_trainer.market.features import WARM_UP

BLOCKS: Final = 5
TESTED_SHARE: Final = 0.5
"""The newest half of the rows is tested, block after block; the oldest half is only ever trained on."""
VALIDATION_SHARE: Final = 0.1
"""Of the rows before a block."""
HORIZON: Final = 1
EMBARGO: Final = 24
CLAIM: Final = "bars"
TREES: Final = 100
SKILL: Final[dict[str, Scalar]] = {"horizon": HORIZON, "dead_zone": 0.0, "embargo": EMBARGO}
"""Next bar, two classes."""
FORECASTS: Final = ("prior", "persistence", "transition", "logistic", "boosting")

Memoriser = Literal["extra trees", "nearest neighbour"]
MEMORISERS: Final[tuple[Memoriser, ...]] = ("extra trees", "nearest neighbour")


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A walk-forward block: rows (bars that a forecast is made at) from `start` to `stop`, which is not in it."""

    number: int
    first: int
    """The oldest row that has a whole window."""
    start: int
    stop: int

    @property
    def file(self) -> str:
        """The bars up to where the last label of the block ends."""
        return f"until-block-{self.number}.csv"

    @property
    def shares(self) -> dict[str, Scalar]:
        """The hyperparameters that make this block the test block of its file."""
        rows = self.stop - self.first
        tested = self.stop - self.start
        return {"test_share": tested / rows, "validation_share": VALIDATION_SHARE * (rows - tested) / rows}


def spans(bars: int, *, window: int) -> list[Span]:
    """Five blocks over the newest half of the rows; the trainer's own rule gives the first and last row."""
    first, last = WARM_UP + window - 1, bars - 1 - HORIZON
    rows = last - first + 1
    edges = np.linspace(last + 1 - round(rows * TESTED_SHARE), last + 1, BLOCKS + 1).round().astype(int).tolist()
    return [
        Span(number=n, first=first, start=start, stop=stop) for n, (start, stop) in enumerate(itertools.pairwise(edges))
    ]


def write_files(folder: Path, bars: pd.DataFrame, found: Sequence[Span]) -> None:
    """One file for each block: nothing after its last label is in it."""
    for each in found:
        bars.iloc[: each.stop + HORIZON].to_csv(folder / each.file, index=False)


def task(span: Span, *, folder: Path, values: Mapping[str, Scalar], seed: int, coin: int | None = None) -> Task:
    """The training of a block; on the coin-flip twin of its bars where a coin's seed is given."""
    file = f"pvc://{CLAIM}/{span.file}"
    source = file if coin is None else f"synthetic://coinflip?of={file}&seed={coin}"
    merged = {**values, **SKILL, **span.shares, "seed": seed}
    return Task(values=merged, source=source, volumes={CLAIM: str(folder)})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Walk:
    """Forecasts for all rows of all blocks, in the order of time."""

    targets: NDArray[np.int64]
    times: NDArray[np.datetime64]
    said: dict[str, Floats]
    """Log probabilities by name: `as trained`, `calibrated`, and the baselines where they were asked for."""

    def predictions(self, name: str) -> Predictions:
        """One forecast, to be judged."""
        return Predictions(log_probabilities=self.said[name], targets=self.targets, times=self.times)


def walk(studies: Sequence[Study], found: Sequence[Span], *, times: NDArray[np.datetime64], baselines: bool) -> Walk:
    """Join the blocks of one seed. Raises ValueError if a training tested other rows than its block."""
    parts: dict[str, list[Floats]] = {}
    for each, span in zip(studies, found, strict=True):
        if not np.array_equal(each.test, np.arange(span.start, span.stop)):
            message = f"block {span.number} is {span.start} to {span.stop}, tested was {each.test[[0, -1]]}"
            raise ValueError(message)
        for name, said in _said(each, times=times, baselines=baselines):
            parts.setdefault(name, []).append(said)
    return Walk(
        targets=np.concatenate([each.targets[each.test] for each in studies]),
        times=np.concatenate([times[each.test] for each in studies]),
        said={name: np.concatenate(said) for name, said in parts.items()},
    )


def _said(one: Study, *, times: NDArray[np.datetime64], baselines: bool) -> Iterator[tuple[str, Floats]]:
    calibration = calibrate(one.validation_said, one.targets[one.validation], shift=one.shift)
    yield "as trained", normalise(one.test_said)
    yield "calibrated", calibration.apply(one.test_said)
    if baselines:
        train, test = blocks_of(one, times=times)
        yield from simple_baselines(train, test, classes=one.classes).items()
        yield from fitted_baselines(train, test, classes=one.classes, seed=0, tick=lambda: None)


def blocks_of(one: Study, *, times: NDArray[np.datetime64]) -> tuple[Block, Block]:
    """What baselines are fitted on (train and validation rows: they choose nothing) and judged on (test rows)."""
    last = last_known_labels(one.targets, horizon=HORIZON)

    def block(rows: NDArray[np.int64]) -> Block:
        return Block(inputs=one.inputs, rows=rows, targets=one.targets[rows], last_labels=last[rows], times=times[rows])

    return block(np.concatenate([one.train, one.validation])), block(one.test)


def mean_scores(walks: Sequence[Walk], name: str, *, resampling: Resampling) -> Scores:
    """The mean over seeds of a forecast's scores: of all rows, and of each resample."""
    each = [resampling.scores(walk.predictions(name)) for walk in walks]
    return Scores(
        **{score: np.mean([getattr(one, score) for one in each], axis=0) for score in Scores.__dataclass_fields__}
    )


def judge(walks: Sequence[Walk], name: str, *, seed: int) -> dict[str, Interval]:
    """Accuracy, macro F1 and log-loss of a forecast over all blocks, with 95 % block-bootstrap intervals."""
    resampling = Resampling.over(walks[0].times, horizon=HORIZON, seed=seed)
    scores = mean_scores(walks, name, resampling=resampling)
    found = {score: interval(getattr(scores, score)) for score in ("accuracy", "f1", "log_loss")}
    if "prior" in walks[0].said:
        prior = mean_scores(walks[:1], "prior", resampling=resampling)
        found["lift"] = interval(scores.accuracy - prior.accuracy)
        found["gain"] = interval(prior.log_loss - scores.log_loss)
    return found


def memorised(one: Study, *, model: Memoriser, seed: int) -> NDArray[np.bool_]:
    """Hits on the test rows of a model that knows every train row by heart."""
    from sklearn.ensemble import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # slow import
        ExtraTreesClassifier,
    )
    from sklearn.neighbors import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # slow import
        KNeighborsClassifier,
    )

    learner = (
        ExtraTreesClassifier(TREES, random_state=seed)
        if model == "extra trees"
        else KNeighborsClassifier(n_neighbors=1)
    )
    seen = np.concatenate([one.train, one.validation])
    learner.fit(one.inputs[seen], one.targets[seen])
    hits: NDArray[np.bool_] = learner.predict(one.inputs[one.test]) == one.targets[one.test]
    return hits
