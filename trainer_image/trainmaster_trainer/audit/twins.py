"""Data without anything to learn, through the workload's own steps, under models that memorise.

A coin-flip twin keeps the size, range, volume and time of every bar and lets a fair coin choose its direction; shuffled
labels keep stretches of labels together and put them elsewhere. Whoever predicts either above chance was told by the
pipeline: rows on both sides of the split that share a label's window, copies of a row, a feature that knows tomorrow.
Regularised networks hide such leaks; extremely randomised trees and the nearest neighbour do not.

Judged is balanced accuracy: whoever knows nothing gets 1 / classes, whatever the balance of the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.findings import AuditFinding, Severity
from trainmaster_trainer.audit.pipeline import UNKNOWN, Pipeline, Prepared
from trainmaster_trainer.evaluation.baselines import Tick, evenly_spread
from trainmaster_trainer.evaluation.intervals import Resampling, interval
from trainmaster_trainer.evaluation.predictions import Floats, Ints, Predictions

STANDARD_ERRORS: Final = 3.0
"""How far from chance luck may lie. A second draw must agree: of 205 sound pipelines (horizons 0 to 24, 3,000 to 6,000
rows) none was refused, while 6 of 780 single results lay further out, all of them at horizon 24."""
TREES: Final = 50
"""Trees of the forest: enough to add up what each leaf remembers, half a second on one core."""
RESAMPLES: Final = 500
"""Resamples behind a standard error: good to 3 %."""
MAX_TRAIN_ROWS: Final = 20_000
"""Visited rows that a model memorises, the first of them in time: neighbours stay neighbours, and it takes seconds."""
MAX_TEST_ROWS: Final = 3_000
SHUFFLED_HORIZONS: Final = 10
SHUFFLED_ROWS: Final = 20
"""Labels are shuffled in stretches of so many horizons, and at least so many rows: neighbours whose labels overlap stay
neighbours, which is what a leak by overlap lives from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TwinResult:
    """How much one memorising model knows of data without anything to know."""

    model: str
    balanced_accuracy: float
    chance: float
    standard_error: float
    """The larger of the block bootstrap's and that of independent rows."""
    rows: int

    @property
    def distance(self) -> float:
        """Standard errors above chance; negative below."""
        return (self.balanced_accuracy - self.chance) / self.standard_error


def block_shuffle(labels: Ints, *, horizon: int, seed: int) -> Ints:
    """The same labels in another order: stretches change their places; UNKNOWN stays where it is."""
    known = np.flatnonzero(labels != UNKNOWN)
    stretches = np.array_split(labels[known], max(1, len(known) // stretch_length(horizon)))
    order = np.random.default_rng(seed).permutation(len(stretches))
    shuffled = labels.copy()
    if len(known):
        shuffled[known] = np.concatenate([stretches[each] for each in order])
    return shuffled


def stretch_length(horizon: int) -> int:
    """Rows of a stretch of labels that stays together."""
    return max(SHUFFLED_HORIZONS * horizon, SHUFFLED_ROWS)


def ask_coin_flip_twin(pipeline: Pipeline, *, seed: int, tick: Tick) -> tuple[list[AuditFinding], float | None]:
    """Findings, and the highest balanced accuracy, of models that memorise a coin-flip twin; None without bars.

    Raises ImportError if scikit-learn is missing.
    """

    def draw(seed: int) -> list[TwinResult]:
        twin = pipeline.coin_flip(seed=seed)
        # Rows that did not move are left out: how large a move is can be known, its direction cannot.
        return [] if twin is None else ask_memorisers(directed(twin), dependence=twin.horizon, seed=seed, tick=tick)

    return _confirmed(draw, seed=seed, above=codes.TWIN_ABOVE_CHANCE, below=codes.TWIN_BELOW_CHANCE)


def ask_shuffled_labels(pipeline: Pipeline, *, seed: int, tick: Tick) -> tuple[list[AuditFinding], float | None]:
    """The same of labels that were shuffled before any step of the pipeline saw them."""

    def draw(seed: int) -> list[TwinResult]:
        prepared = pipeline.prepare(relabel=partial(block_shuffle, horizon=pipeline.horizon, seed=seed))
        return ask_memorisers(prepared, dependence=stretch_length(pipeline.horizon), seed=seed, tick=tick)

    return _confirmed(
        draw, seed=seed, above=codes.SHUFFLED_LABELS_ABOVE_CHANCE, below=codes.SHUFFLED_LABELS_BELOW_CHANCE
    )


def directed(prepared: Prepared) -> Prepared:
    """Only the rows of the first and of the last class, as classes 0 and 1."""
    last = prepared.classes - 1
    kept = (prepared.labels == 0) | (prepared.labels == last)
    return Prepared(
        features=prepared.features,
        labels=np.where(prepared.labels == last, 1, prepared.labels),
        times=prepared.times,
        label_ends=prepared.label_ends,
        classes=2,
        horizon=prepared.horizon,
        embargo=prepared.embargo,
        train=prepared.train[kept[prepared.train]],
        validation=prepared.validation[kept[prepared.validation]],
        test=prepared.test[kept[prepared.test]],
        visited=prepared.visited[kept[prepared.visited]],
    )


def ask_memorisers(prepared: Prepared, *, dependence: int, seed: int, tick: Tick) -> list[TwinResult]:
    """How much each memorising model knows of the test rows; `dependence`: stamps over which labels are alike."""
    visited = np.sort(prepared.visited)[:MAX_TRAIN_ROWS]
    test = prepared.test[evenly_spread(len(prepared.test), at_most=MAX_TEST_ROWS)]
    if len(test) == 0 or len(np.unique(prepared.labels[visited])) < 2 or len(np.unique(prepared.labels[test])) < 2:
        return []
    seen = np.nan_to_num(prepared.features[visited].astype(np.float64))
    asked = np.nan_to_num(prepared.features[test].astype(np.float64))
    # The nearest neighbour needs columns of one scale; the scale of what it memorises, of course.
    centre, scale = seen.mean(axis=0), np.maximum(seen.std(axis=0), np.finfo(np.float64).tiny)
    results = []
    for name, model in _memorisers(seed).items():
        tick()
        model.fit((seen - centre) / scale, prepared.labels[visited])
        predicted = model.predict((asked - centre) / scale)
        results.append(_judge(name, predicted, prepared=prepared, test=test, dependence=dependence))
    return results


def _memorisers(seed: int) -> dict[str, Any]:
    from sklearn.ensemble import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # slow import
        ExtraTreesClassifier,
    )
    from sklearn.neighbors import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # slow import
        KNeighborsClassifier,
    )

    return {
        "extra trees": ExtraTreesClassifier(n_estimators=TREES, random_state=seed),
        "nearest neighbour": KNeighborsClassifier(n_neighbors=1),
    }


def _judge(name: str, predicted: Ints, *, prepared: Prepared, test: Ints, dependence: int) -> TwinResult:
    said: Floats = np.log(np.full((len(test), prepared.classes), np.finfo(np.float64).tiny))
    said[np.arange(len(test)), predicted] = 0.0
    predictions = Predictions(log_probabilities=said, targets=prepared.labels[test], times=prepared.times[test])
    # The stamps of the test rows are thinner than all stamps: dependence reaches over fewer of them.
    reach = math.ceil(dependence * len(test) / max(len(prepared.test), 1))
    resampling = Resampling.over(predictions.times, horizon=reach, seed=0, resamples=RESAMPLES)
    found = interval(resampling.scores(predictions).balanced_accuracy)
    counts = np.bincount(predictions.targets, minlength=prepared.classes)
    counts = counts[counts > 0]
    chance = 1 / len(counts)
    independent = math.sqrt(chance * (1 - chance) * float((1 / counts).sum())) / len(counts)
    return TwinResult(
        model=name,
        balanced_accuracy=found.value,
        chance=chance,
        standard_error=max(found.standard_error, independent),
        rows=len(test),
    )


def _confirmed(
    draw: Callable[[int], list[TwinResult]], *, seed: int, above: str, below: str
) -> tuple[list[AuditFinding], float | None]:
    """Findings that a second, independent draw agrees with, and the highest balanced accuracy of the first."""
    first = draw(seed)
    highest = max((each.balanced_accuracy for each in first), default=None)
    suspects = {each.model: each for each in first if abs(each.distance) > STANDARD_ERRORS}
    if not suspects:
        return [], highest
    findings = []
    for again in draw(seed + 1):
        before = suspects.get(again.model)
        if before and abs(again.distance) > STANDARD_ERRORS and (again.distance > 0) == (before.distance > 0):
            findings.append(_finding(before, again, code=above if again.distance > 0 else below))
    return findings, highest


def _finding(first: TwinResult, second: TwinResult, *, code: str) -> AuditFinding:
    leaks = second.distance > 0
    kind = "a coin-flip twin" if code in (codes.TWIN_ABOVE_CHANCE, codes.TWIN_BELOW_CHANCE) else "shuffled labels"
    message = (
        f"{first.model} scores {first.balanced_accuracy:.1%} and {second.balanced_accuracy:.1%} (balanced accuracy, "
        f"two draws) on {kind} of the data, where nothing can be known and {first.chance:.1%} is chance (+-"
        f"{STANDARD_ERRORS * first.standard_error:.1%}, {first.rows} test rows): the pipeline "
        + ("tells training about test rows; look at split, copies of rows and features" if leaks else "is biased")
    )
    return AuditFinding(code=code, severity=Severity.REFUSE if leaks else Severity.FLAG, message=message)
