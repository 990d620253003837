import numpy as np
import pytest

from trainmaster_trainer.evaluation import baselines
from trainmaster_trainer.evaluation.baselines import (
    UNKNOWN,
    Block,
    class_prior,
    evenly_spread,
    fitted_baselines,
    last_known_labels,
    simple_baselines,
)
from trainmaster_trainer.evaluation.predictions import Floats, Ints


def _block(targets: Ints, *, last_labels: Ints | None = None, inputs: Floats | None = None) -> Block:
    rows = len(targets)
    return Block(
        inputs=(np.zeros((rows, 1)) if inputs is None else inputs).astype(np.float32),
        rows=np.arange(rows),
        targets=targets,
        last_labels=np.full(rows, UNKNOWN) if last_labels is None else last_labels,
        times=np.arange(rows),
    )


def test_the_last_known_label_is_that_of_the_bar_whose_horizon_ends_now() -> None:
    assert last_known_labels(np.array([0, 1, 2, 0, 1]), horizon=2).tolist() == [UNKNOWN, UNKNOWN, 0, 1, 2]
    assert last_known_labels(np.array([0, 1]), horizon=5).tolist() == [UNKNOWN, UNKNOWN]


def test_a_label_of_its_own_row_is_not_known_before_that_of_the_row_before_is() -> None:
    assert last_known_labels(np.array([0, 1, 2]), horizon=0).tolist() == [UNKNOWN, 0, 1]


def test_no_label_is_carried_from_one_instrument_to_the_other() -> None:
    labels = np.array([0, 1, 2, 5, 6, 9])

    assert last_known_labels(labels, horizon=1, starts=(0, 3, 5)).tolist() == [UNKNOWN, 0, 1, UNKNOWN, 5, UNKNOWN]
    assert last_known_labels(labels, horizon=2, starts=(0, 3, 5)).tolist() == [UNKNOWN, UNKNOWN, 0] + 3 * [UNKNOWN]


def test_the_prior_counts_each_class_once_more_than_it_came() -> None:
    assert class_prior(np.array([0, 1, 1, 1]), classes=3).tolist() == pytest.approx([2 / 7, 4 / 7, 1 / 7])


def test_simple_baselines_by_hand() -> None:
    """Training: after 0 came 0, 0, 1; after 1 came 0. The last label came again in 2 of 4."""
    train = _block(np.array([0, 0, 1, 0]), last_labels=np.array([0, 0, 0, 1]))
    test = _block(np.array([0, 1, 1]), last_labels=np.array([0, 1, UNKNOWN]))

    found = {name: np.exp(each) for name, each in simple_baselines(train, test, classes=2).items()}

    np.testing.assert_allclose(found["prior"], [[4 / 6, 2 / 6]] * 3)
    again = 1 / 2 + baselines.LEAST_ADVANTAGE
    np.testing.assert_allclose(found["persistence"], [[again, 1 - again], [1 - again, again], [4 / 6, 2 / 6]])
    np.testing.assert_allclose(found["transition"], [[3 / 5, 2 / 5], [2 / 3, 1 / 3], [4 / 6, 2 / 6]])


def test_persistence_says_the_last_label_even_where_the_other_always_followed_and_transition_knows() -> None:
    last, came = np.arange(100) % 2, (np.arange(100) + 1) % 2
    train = _block(came, last_labels=last)

    found = simple_baselines(train, train, classes=2)

    assert found["persistence"].argmax(axis=1).tolist() == last.tolist()
    assert found["transition"].argmax(axis=1).tolist() == came.tolist()


def _separable(rows: int, *, seed: int) -> Block:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, 4))
    return _block((inputs[:, 1] + rng.normal(0, 0.3, rows) > 0).astype(np.int64), inputs=inputs)


def test_fitted_baselines_find_what_the_newest_features_say() -> None:
    train, test = _separable(800, seed=0), _separable(400, seed=1)

    found = dict(fitted_baselines(train, test, classes=2, seed=0, tick=lambda: None))

    assert set(found) == {"logistic", "boosting"}
    for said in found.values():
        assert (said.argmax(axis=1) == test.targets).mean() > 0.85
        np.testing.assert_allclose(np.exp(said).sum(axis=1), 1.0)


def test_fitted_baselines_never_see_a_test_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "PREDICTED_AT_ONCE", 150)
    train, test = _separable(300, seed=0), _separable(400, seed=1)
    other = _block(1 - test.targets, inputs=test.inputs.astype(np.float64))

    first, second = (
        dict(fitted_baselines(train, each, classes=2, seed=0, tick=lambda: None)) for each in (test, other)
    )

    for name, said in first.items():
        np.testing.assert_array_equal(said, second[name])


def test_a_class_that_training_never_saw_keeps_a_small_probability() -> None:
    train, test = _separable(300, seed=0), _separable(50, seed=1)

    for _, said in fitted_baselines(train, test, classes=3, seed=0, tick=lambda: None):
        assert said.shape == (50, 3)
        assert np.isfinite(said).all()
        assert (np.exp(said[:, 2]) < 0.02).all()


def test_a_training_block_of_one_class_gives_the_prior() -> None:
    train, test = _block(np.zeros(20, dtype=np.int64)), _separable(5, seed=1)

    for _, said in fitted_baselines(train, test, classes=2, seed=0, tick=lambda: None):
        np.testing.assert_allclose(np.exp(said), [[21 / 22, 1 / 22]] * 5)


def test_features_that_are_not_finite_harm_no_baseline() -> None:
    train, test = _separable(300, seed=0), _separable(50, seed=1)
    train.inputs[3, 0], train.inputs[4, 2], test.inputs[0, 0] = np.nan, np.inf, -np.inf

    found = dict(fitted_baselines(train, test, classes=2, seed=0, tick=lambda: None))

    assert all(np.isfinite(said).all() for said in found.values())


def test_many_rows_are_thinned_evenly_from_the_first_to_the_last() -> None:
    assert evenly_spread(5, at_most=5).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spread(9, at_most=3).tolist() == [0, 4, 8]
