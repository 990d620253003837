"""Accuracy, macro F1, balanced accuracy and log-loss, from sums over rows.

All four follow from counts: so a resample costs a few additions, not another pass over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.evaluation.predictions import Floats, Ints, Predictions


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """Scores of one model: each an array (samples,), the first of all rows, the others of resamples of them."""

    accuracy: Floats
    f1: Floats
    """Unweighted mean over all classes; a class that neither came nor was predicted counts 0."""
    balanced_accuracy: Floats
    """Mean share of hits over the classes that came: 1 / classes for whoever knows nothing, whatever the balance."""
    log_loss: Floats
    """Mean negative log-likelihood, in nats."""


def statistics(predictions: Predictions) -> Iterator[Floats]:
    """Columns (rows,) whose sums `from_sums` makes scores of: one, the log-likelihood; per class hit, said, came."""
    said, came = predictions.predicted, predictions.targets
    yield np.ones(len(came))
    yield predictions.log_likelihood
    for each in range(predictions.classes):
        yield ((said == each) & (came == each)).astype(np.float64)
        yield (said == each).astype(np.float64)
        yield (came == each).astype(np.float64)


def from_sums(sums: Floats) -> Scores:
    """Scores from sums (samples, columns) of the columns of `statistics`."""
    rows = sums[:, 0]
    hits, said, came = (sums[:, 2 + offset :: 3] for offset in range(3))
    total = said + came
    f1 = np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)
    recall = np.divide(hits, came, out=np.zeros_like(hits), where=came > 0)
    return Scores(
        accuracy=hits.sum(axis=1) / rows,
        f1=f1.mean(axis=1),
        balanced_accuracy=recall.sum(axis=1) / (came > 0).sum(axis=1),
        log_loss=-sums[:, 1] / rows,
    )


def confusion(predictions: Predictions) -> Ints:
    """Counts (classes that came, classes predicted)."""
    classes = predictions.classes
    flat = predictions.targets * classes + predictions.predicted
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def auc(scores: Floats, *, positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: how often a positive row has the higher score, ties count half.

    None where all rows are positive, or none.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Mean rank of each group of equal scores (Mann and Whitney).
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = float(ranks[positive].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)
