import math

import numpy as np
import pytest
from sklearn.metrics import (  # type: ignore[import-untyped]  # it has no types
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.evaluation.predictions import Predictions, normalise, without_nonfinite
from trainmaster_trainer.evaluation.scores import Scores, auc, confusion, from_sums, statistics

CLASSES = 3


def _random(rows: int = 500, *, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    return Predictions(
        log_probabilities=normalise(rng.normal(size=(rows, CLASSES))),
        targets=rng.integers(0, CLASSES, rows),
        times=np.arange(rows),
    )


def _scores(predictions: Predictions) -> Scores:
    return from_sums(np.stack([column.sum(keepdims=True) for column in statistics(predictions)], axis=1))


def test_scores_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]])
    scores = _scores(
        Predictions(log_probabilities=np.log(probabilities), targets=np.array([0, 1, 1, 2]), times=np.arange(4))
    )

    assert scores.accuracy[0] == 0.75
    assert scores.f1[0] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert scores.balanced_accuracy[0] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert scores.log_loss[0] == pytest.approx(-math.log(0.7 * 0.8 * 0.4 * 0.6) / 4)


def test_scores_are_those_of_scikit_learn() -> None:
    predictions = _random()

    scores = _scores(predictions)

    assert scores.f1[0] == pytest.approx(f1_score(predictions.targets, predictions.predicted, average="macro"))
    assert scores.balanced_accuracy[0] == pytest.approx(
        balanced_accuracy_score(predictions.targets, predictions.predicted)
    )
    assert scores.log_loss[0] == pytest.approx(log_loss(predictions.targets, np.exp(predictions.log_probabilities)))


def test_a_class_that_neither_came_nor_was_predicted_counts_zero_in_f1_and_not_at_all_in_balanced_accuracy() -> None:
    scores = _scores(
        Predictions(log_probabilities=np.log([[0.9, 0.05, 0.05]]), targets=np.array([0]), times=np.arange(1))
    )

    assert scores.f1[0] == pytest.approx(1 / 3)
    assert scores.balanced_accuracy[0] == 1.0


def test_confusion_counts_what_came_by_line() -> None:
    log_probabilities = np.log([[0.8, 0.2], [0.8, 0.2], [0.1, 0.9]])

    counts = confusion(
        Predictions(log_probabilities=log_probabilities, targets=np.array([0, 1, 1]), times=np.arange(3))
    )

    assert counts.tolist() == [[1, 0], [1, 1]]


def test_auc_counts_ties_half_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 5, 200).astype(float), rng.random(200) < 0.3

    assert auc(scores, positive=positive) == pytest.approx(roc_auc_score(positive, scores))
    assert auc(scores, positive=np.ones(200, dtype=bool)) is None


def test_rows_with_nan_or_infinity_say_no_idea() -> None:
    said = np.log([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    said[0, 0], said[2, 1] = np.nan, -np.inf

    clean, broken = without_nonfinite(said)

    assert broken == 2
    np.testing.assert_allclose(np.exp(clean), [[0.5, 0.5]] * 3)


@pytest.mark.parametrize(
    ("rows", "target", "message"),
    [(2, 0, "not of the same rows"), (1, 2, "1 targets are no class of 0 to 1, the first is 2"), (0, 0, "no row")],
)
def test_what_does_not_fit_is_refused_with_its_values(rows: int, target: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictions(log_probabilities=np.zeros((min(rows, 1), 2)), targets=np.full(rows, target), times=np.arange(rows))
