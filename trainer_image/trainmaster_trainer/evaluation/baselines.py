"""What is known without the network, judged on the same rows: four forecasts, fitted on train rows only.

`prior` knows how frequent the classes were; `persistence` says the last label again; `transition` says what usually
followed the last label; `logistic` and `boosting` see the newest features of each window (data as of the row's own
bar, no look back over the window).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.evaluation.predictions import Floats, Ints, Times, normalise

UNKNOWN: Final = -1
"""Stands for a last label that is not known yet: at the beginning of an instrument."""
MAX_FIT_ROWS: Final = 50_000
"""Fitted baselines see at most so many train rows, evenly spread: seconds on one core, and more rows move a model of
this size by less than its interval."""
PREDICTED_AT_ONCE: Final = 100_000
"""Rows whose features are gathered at once."""
LOGISTIC_C: Final = 0.05
LOGISTIC_ITERATIONS: Final = 300
BOOSTING: Final[Mapping[str, Any]] = {
    "max_iter": 120,
    "learning_rate": 0.04,
    "max_leaf_nodes": 12,
    "min_samples_leaf": 60,
    # Its own early stopping would hold out rows at random, which overlapping labels make worthless.
    "early_stopping": False,
}
"""Small trees, as the known figures on hourly bars were made with; untuned: no baseline is chosen by its test."""
LEAST_ADVANTAGE: Final = 1e-6
"""By how much persistence prefers the last label at least: it says it again even where others followed more often."""

Tick = Callable[[], None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Block:
    """Rows of one block of time."""

    inputs: NDArray[np.float32]
    """The table (bars, features) that `rows` points into, standardised; may be a memory map."""
    rows: Ints
    """Number, in `inputs`, of the bar that each prediction is made at."""
    targets: Ints
    last_labels: Ints
    """The newest label that was known when the prediction was made; UNKNOWN where there was none."""
    times: Times

    def features(self, part: slice | Ints) -> Floats:
        """Features (rows, features) of some rows, newest bar of the window only; NaN and infinities become finite."""
        return np.nan_to_num(np.asarray(self.inputs[self.rows[part]], dtype=np.float64))


def last_known_labels(labels: Ints, *, horizon: int, starts: Sequence[int] = (0,)) -> Ints:
    """The label of bar t - horizon, for each bar t: the newest one whose end is known at t's close.

    `labels` are of all bars, those of one instrument after each other from its start on, in the order of time. UNKNOWN
    where there is no such bar. A label that belongs to its own row (horizon 0) is what shall be predicted: there the
    row before is the newest that is known.
    """
    by = max(horizon, 1)
    result = np.full(len(labels), UNKNOWN, dtype=np.int64)
    for start, end in zip(starts, (*starts[1:], len(labels)), strict=True):
        result[start + by : end] = labels[start : max(end - by, start)]
    return result


def class_prior(targets: Ints, *, classes: int) -> Floats:
    """Frequencies (classes,) of some targets, each counted once more than it came: none is 0 (Laplace)."""
    counts = np.bincount(targets, minlength=classes) + 1.0
    prior: Floats = counts / counts.sum()
    return prior


def simple_baselines(train: Block, test: Block, *, classes: int) -> dict[str, Floats]:
    """Log probabilities (test rows, classes) of prior, persistence and transition."""
    prior = class_prior(train.targets, classes=classes)
    return {
        "prior": np.tile(np.log(prior), (len(test.targets), 1)),
        "persistence": _by_last_label(_persistence_table(train, prior=prior), test, prior=prior),
        "transition": _by_last_label(_transition_table(train, classes=classes), test, prior=prior),
    }


def _persistence_table(train: Block, *, prior: Floats) -> Floats:
    """Rows: the last label. It is as likely as it was to come again in training, the others share the rest evenly."""
    classes = len(prior)
    known = train.last_labels != UNKNOWN
    again = float((train.last_labels[known] == train.targets[known]).sum() + 1) / (int(known.sum()) + classes)
    again = min(max(again, 1 / classes + LEAST_ADVANTAGE), 1 - LEAST_ADVANTAGE)
    table = np.full((classes, classes), (1 - again) / (classes - 1))
    np.fill_diagonal(table, again)
    return table


def _transition_table(train: Block, *, classes: int) -> Floats:
    """Rows: the last label; columns: how often each class followed it in training (Laplace)."""
    known = train.last_labels != UNKNOWN
    flat = train.last_labels[known] * classes + train.targets[known]
    counts = np.bincount(flat, minlength=classes * classes).reshape(classes, classes) + 1.0
    table: Floats = counts / counts.sum(axis=1, keepdims=True)
    return table


def _by_last_label(table: Floats, block: Block, *, prior: Floats) -> Floats:
    """Each row gets its last label's line of the table; the prior where there is none."""
    lines = np.concatenate([np.log(table), np.log(prior)[None]])
    # UNKNOWN is -1: the last line.
    result: Floats = lines[block.last_labels]
    return result


def fitted_baselines(train: Block, test: Block, *, classes: int, seed: int, tick: Tick) -> Iterator[tuple[str, Floats]]:
    """Name and log probabilities of logistic regression and gradient boosting.

    Raises ImportError if scikit-learn is missing.
    """
    from sklearn.ensemble import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # slow import
        HistGradientBoostingClassifier,
    )
    from sklearn.exceptions import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # slow import
        ConvergenceWarning,
    )
    from sklearn.linear_model import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # slow import
        LogisticRegression,
    )

    seen = evenly_spread(len(train.rows), at_most=MAX_FIT_ROWS)
    models = {
        "logistic": LogisticRegression(C=LOGISTIC_C, max_iter=LOGISTIC_ITERATIONS),
        "boosting": HistGradientBoostingClassifier(**BOOSTING, random_state=seed),
    }
    features, targets = train.features(seen), train.targets[seen]
    prior = class_prior(train.targets, classes=classes)
    for name, model in models.items():
        tick()
        if len(np.unique(targets)) > 1:
            with warnings.catch_warnings():
                # A fit that wants more iterations than LOGISTIC_ITERATIONS is good enough to be compared with.
                warnings.simplefilter("ignore", category=ConvergenceWarning)
                model.fit(features, targets)
            yield name, _predict(model, test, prior=prior, tick=tick)
        else:
            yield name, np.tile(np.log(prior), (len(test.rows), 1))


def evenly_spread(rows: int, *, at_most: int) -> Ints:
    """Row numbers, ascending, the first and the last among them."""
    if rows <= at_most:
        return np.arange(rows, dtype=np.int64)
    return np.linspace(0, rows - 1, at_most).round().astype(np.int64)


def _predict(model: Any, block: Block, *, prior: Floats, tick: Tick) -> Floats:  # noqa: ANN401  # sklearn has no types
    """Log probabilities of a fitted model; a class that it has not seen keeps its (tiny) prior."""
    result = np.tile(np.log(prior), (len(block.rows), 1))
    for at in range(0, len(block.rows), PREDICTED_AT_ONCE):
        tick()
        part = slice(at, at + PREDICTED_AT_ONCE)
        # Trees can say 0 where a leaf has no row of a class; a log of 0 is no forecast.
        said = np.maximum(model.predict_proba(block.features(part)), 1e-12)
        result[part, model.classes_] = np.log(said)
    return normalise(result)
