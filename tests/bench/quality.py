"""Benchmark: how close the trainer gets to the best possible, and what it finds in real bars beside simple models.

`python -m tests.bench.quality [--quick] [--seed N] [--json FILE]`. Three parts: hidden Markov chains, whose best
possible accuracy is known exactly; hourly bars of BTC/USD, next bar, up or down, in five walk-forward blocks over the
newest half; the coin-flip twin of the same bars, where nothing can be found. Each training runs on one thread of a
process of its own, as many at a time as there are cores. The bars are fetched once (see tests/support/bitcoin_bars.py).
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from tests.bench import quality_bars, quality_hmm
from tests.bench.harness import Options, Target, publish, read_options
from tests.support.bitcoin_bars import bitcoin_bars
from tests.support.market_training import Study, Task, study
from trainmaster.api.hyperparameters import Scalar
from trainmaster.api.presets import over_presets

POINTS_BELOW_BEST: Final = 1.0
ERRORS_ABOVE_BEST: Final = 3.0
ACCURACY_GOAL: Final = 0.55
LOG_LOSS_GOAL: Final = 0.685
COIN_LOW: Final = 0.485
COIN_HIGH: Final = 0.515
"""Three standard errors around one half, for the 10,000 rows of all blocks."""
ENOUGH_ROWS: Final = 10_000
ENOUGH_CHAINS: Final = quality_hmm.SEEDS
SEEDS: Final = 3
COINS: Final = 2
WINDOW: Final = 24
DEFAULT: Final = {"model": "production-small", "trainer": "production-small"}
"""The preset that a user is told to begin with."""
CALIBRATED: Final = {"model": "production-small", "trainer": "calibrated"}
"""The preset for probabilities that are used as such."""
SOURCE: Final = {"model": "production-small", "trainer": "source-v2"}
"""The hyperparameters of the trainer that is replaced, which are the v2 defaults."""
UNATTENDED: Final[dict[str, Scalar]] = {"leak_audit": False, "export_onnx": False}
"""What has nothing to do with the trained weights, and is measured elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Market:
    """The real bars, as files until each block's end."""

    folder: Path
    bars: pd.DataFrame
    spans: list[quality_bars.Span]

    @property
    def times(self) -> Any:  # noqa: ANN401  # a numpy array, which pandas types as anything
        """The time of each bar."""
        return self.bars["time"].to_numpy()

    def tasks(self, presets: Mapping[str, str], *, seed: int, coin: int | None = None) -> list[Task]:
        """The trainings of all blocks with one seed."""
        merged = {**values_of(presets), "window": WINDOW}
        return [quality_bars.task(s, folder=self.folder, values=merged, seed=seed, coin=coin) for s in self.spans]


def values_of(presets: Mapping[str, str]) -> dict[str, Scalar]:
    """Hyperparameters of presets."""
    return over_presets("market-classifier", presets=presets, given=UNATTENDED)


def train_all(tasks: Sequence[Task]) -> list[Study]:
    """Train on all cores, each training on one thread."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before the children import torch
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(study, tasks))


def hmm_targets(options: Options) -> Iterator[Target]:
    """How far below the best possible, and that it is never above, for the default preset and the calibrated one."""
    chains = quality_hmm.chains(quick=options.quick, seed=options.seed)
    for preset, presets in {"default": DEFAULT, "calibrated": CALIBRATED}.items():
        studies = train_all([chain.task(values_of(presets)) for chain in chains])
        found = [quality_hmm.distance(chain, one) for chain, one in zip(chains, studies, strict=True)]
        for separation in dict.fromkeys(chain.separation for chain in chains):
            some = quality_hmm.of_separation(found, separation)
            yield from _distance_targets(f"HMM {separation:g}, {preset}", some)
        slowest = max(each.seconds for each in found)
        yield Target(name=f"HMM, {preset}: slowest training", unit="s", goal=None, value=slowest, n=len(found))


def _distance_targets(name: str, found: Sequence[quality_hmm.Distance]) -> Iterator[Target]:
    n = len(found)
    best = statistics.mean(each.ceiling.bayes_accuracy for each in found)
    lost = statistics.mean(each.log_loss - each.ceiling.log_loss for each in found)
    yield Target(name=f"{name}: best possible accuracy", unit="", goal=None, value=best, n=n, better="higher")
    yield Target(
        name=f"{name}: accuracy below the best possible, mean",
        unit="points",
        goal=POINTS_BELOW_BEST,
        value=statistics.mean(each.missing for each in found),
        n=n,
        enough=ENOUGH_CHAINS,
    )
    yield Target(
        name=f"{name}: accuracy above the best possible, worst",
        unit="standard errors",
        goal=ERRORS_ABOVE_BEST,
        value=max(each.excess for each in found),
        n=n,
    )
    yield Target(name=f"{name}: log-loss above the best possible", unit="nats", goal=None, value=lost, n=n)


def bars_targets(market: Market, options: Options) -> Iterator[Target]:
    """The calibrated recipe and the v2 defaults on real bars, beside five simple forecasts on the same rows."""
    seeds = range(options.seed, options.seed + (1 if options.quick else SEEDS))
    recipes = {"calibrated": CALIBRATED} if options.quick else {"calibrated": CALIBRATED, "v2 defaults": SOURCE}
    for recipe, presets in recipes.items():
        walks = _walks(market, presets, seeds=seeds if recipe == "calibrated" else seeds[:1])
        if recipe == "calibrated":
            for name in quality_bars.FORECASTS:
                yield from _forecast_targets(f"BTC {name}", walks[:1], name, options=options)
            for span, accuracy in zip(market.spans, _accuracy_of_blocks(market, walks), strict=True):
                yield Target(
                    name=f"BTC {recipe}: accuracy in block {span.number + 1}",
                    unit="",
                    goal=None,
                    value=accuracy,
                    n=len(walks),
                )
            yield from _forecast_targets(f"BTC {recipe} as trained", walks, "as trained", options=options)
        yield from _forecast_targets(f"BTC {recipe}", walks, "calibrated", options=options, goal=recipe == "calibrated")


def _walks(
    market: Market, presets: Mapping[str, str], *, seeds: Sequence[int], coins: Sequence[int | None] = (None,)
) -> list[quality_bars.Walk]:
    lives = [(seed, coin) for seed in seeds for coin in coins]
    tasks = [task for seed, coin in lives for task in market.tasks(presets, seed=seed, coin=coin)]
    studies, width = train_all(tasks), len(market.spans)
    parts = [studies[at : at + width] for at in range(0, len(studies), width)]
    # Baselines have no seed that matters: once is enough.
    return [
        quality_bars.walk(part, market.spans, times=market.times, baselines=number == 0 and coins == (None,))
        for number, part in enumerate(parts)
    ]


def _accuracy_of_blocks(market: Market, walks: Sequence[quality_bars.Walk]) -> Iterator[float]:
    """Mean over seeds."""
    edges = np.cumsum([0, *(span.stop - span.start for span in market.spans)]).tolist()
    for start, stop in itertools.pairwise(edges):
        hits = [
            float((walk.said["calibrated"][start:stop].argmax(axis=1) == walk.targets[start:stop]).mean())
            for walk in walks
        ]
        yield statistics.mean(hits)


def _forecast_targets(
    title: str, walks: Sequence[quality_bars.Walk], name: str, *, options: Options, goal: bool = False
) -> Iterator[Target]:
    judged, rows = quality_bars.judge(walks, name, seed=options.seed), len(walks[0].targets)
    accuracy, log_loss = judged["accuracy"], judged["log_loss"]
    yield Target(
        name=f"{title}: accuracy [{accuracy.low:.3f} to {accuracy.high:.3f}]",
        unit="",
        goal=ACCURACY_GOAL if goal else None,
        value=accuracy.value,
        n=rows,
        better="higher",
        enough=ENOUGH_ROWS,
    )
    yield Target(
        name=f"{title}: log-loss [{log_loss.low:.4f} to {log_loss.high:.4f}]",
        unit="nats",
        goal=LOG_LOSS_GOAL if goal else None,
        value=log_loss.value,
        n=rows,
        enough=ENOUGH_ROWS,
    )
    if goal:
        lift = judged["lift"]
        low = 100 * lift.low
        yield Target(
            name=f"{title}: accuracy above the prior's, lower end of 95 %",
            unit="points",
            goal=0.0,
            value=low,
            n=rows,
            better="higher",
            enough=ENOUGH_ROWS,
        )


def twin_targets(market: Market, options: Options) -> Iterator[Target]:
    """The coin-flip twin: whatever the recipe, or a model that knows all rows by heart, finds there is a leak."""
    coins = range(options.seed, options.seed + (1 if options.quick else COINS))
    lives = [market.tasks(CALIBRATED, seed=options.seed, coin=coin) for coin in coins]
    studies = train_all([task for tasks in lives for task in tasks])
    hits: dict[str, list[Any]] = {"calibrated": []}
    for one in studies:
        hits["calibrated"].append(one.test_said.argmax(axis=1) == one.targets[one.test])
        for model in quality_bars.MEMORISERS:
            hits.setdefault(model, []).append(quality_bars.memorised(one, model=model, seed=options.seed))
    for name, found in hits.items():
        joined = np.concatenate(found)
        value, n = float(joined.mean()), len(joined)
        what = f"coin-flip twin, {name}: accuracy"
        yield Target(name=what, unit="", goal=COIN_LOW, value=value, n=n, better="higher", enough=ENOUGH_ROWS)
        yield Target(name=what, unit="", goal=COIN_HIGH, value=value, n=n, enough=ENOUGH_ROWS)


def open_market(folder: Path, *, quick: bool) -> Market:
    """Fetch the bars and write each block's file; a quick run has the last two blocks only."""
    bars = bitcoin_bars()
    spans = quality_bars.spans(len(bars), window=WINDOW)
    spans = spans[-2:] if quick else spans
    quality_bars.write_files(folder, bars, spans)
    return Market(folder=folder, bars=bars, spans=spans)


def run(options: Options) -> list[Target]:
    """All three parts."""
    with tempfile.TemporaryDirectory() as folder:
        market = open_market(Path(folder), quick=options.quick)
        return [
            *hmm_targets(options),
            *bars_targets(market, options),
            *twin_targets(market, options),
        ]


def main() -> None:
    """Measure and publish."""
    options = read_options(__doc__.splitlines()[0])
    blocks = f"BTC/USD 1 h: {quality_bars.BLOCKS} walk-forward blocks, embargo {quality_bars.EMBARGO}"
    notes = [
        f"{blocks}; intervals are 95 %, of a moving-block bootstrap",
        "figures without a remark are calibrated by one temperature per block, fitted on its validation rows",
        "v2 defaults: one seed; calibrated: the mean of all seeds",
    ]
    publish("quality", options=options, targets=run(options), notes=notes)


if __name__ == "__main__":
    main()
