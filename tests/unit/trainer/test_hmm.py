"""The sticky chain: what is drawn has the frequencies that were asked for, and its truth is the truth."""

import itertools
import math

import numpy as np
import pytest

from trainmaster.api.synthetic import HmmSource
from trainmaster_trainer.market.dataset import Dataset
from trainmaster_trainer.synthetic.ceiling import block_standard_error
from trainmaster_trainer.synthetic.hmm import HmmTruth, label_probabilities, make_hmm, prior_of


def _hmm(**keys: float) -> Dataset:
    return make_hmm(HmmSource.model_validate({"rows": 20_000, **keys}))


def _truth(dataset: Dataset) -> HmmTruth:
    assert isinstance(dataset.truth, HmmTruth)
    return dataset.truth


def test_the_same_address_makes_the_same_table_and_another_seed_another() -> None:
    first, again, other = _hmm(seed=1), _hmm(seed=1), _hmm(seed=2)

    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert not np.array_equal(first.labels, other.labels)


def test_shapes_times_and_classes() -> None:
    dataset = _hmm(rows=50, states=4, columns=6, noise_columns=2)

    assert dataset.values.shape == (50, 8)
    assert dataset.values.dtype == np.float32
    assert dataset.classes == ("0", "1", "2", "3")
    assert dataset.time[0] == np.datetime64("2000-01-01")
    assert set(np.diff(dataset.time)) == {np.timedelta64(60, "s")}


def test_labels_come_as_often_as_prior_and_noise_say() -> None:
    source = HmmSource(rows=400_000, label_noise=0.2, majority=0.5)
    expected = prior_of(source) @ label_probabilities(3, noise=0.2)

    shares = np.bincount(make_hmm(source).labels) / source.rows

    np.testing.assert_allclose(shares, expected, atol=0.01)
    np.testing.assert_allclose(expected, [0.275, 0.45, 0.275])


def test_any_two_states_are_the_given_distance_apart() -> None:
    # Without label noise a label is its row's state, so means by label are the states' means.
    dataset = _hmm(rows=200_000, separation=2.0, label_noise=0)

    means = [dataset.values[dataset.labels == k].mean(axis=0) for k in range(3)]

    for a, b in itertools.combinations(means, 2):
        assert math.dist(a, b) == pytest.approx(2.0, abs=0.05)


def test_columns_of_noise_show_nothing() -> None:
    dataset = _hmm(rows=100_000, separation=5.0, columns=3, noise_columns=2)

    means = np.array([dataset.values[dataset.labels == k].mean(axis=0) for k in range(3)])

    assert np.ptp(means[:, :3], axis=0).max() > 1
    assert np.ptp(means[:, 3:], axis=0).max() < 0.05


def test_the_posterior_is_that_of_every_path_added_up() -> None:
    # Three rows and two states have eight paths: few enough to add up one by one.
    prior, stay = np.array([0.3, 0.7]), 0.8
    likelihoods = np.array([[0.5, -0.2], [-1.0, 0.4], [0.1, 0.3]], dtype=np.float32)
    truth = HmmTruth(likelihoods=likelihoods, labels=np.zeros(3, np.int64), prior=prior, stay=stay, label_noise=0.0)
    move = stay * np.eye(2) + (1 - stay) * prior
    by_state = np.zeros(2)
    for a, b, c in itertools.product(range(2), repeat=3):
        seen = likelihoods[0, a] + likelihoods[1, b] + likelihoods[2, c]
        by_state[c] += prior[a] * move[a, b] * move[b, c] * math.exp(seen)

    known = truth.log_probabilities(np.array([2]), window=3)

    # Noise of 0 would make logarithms of 0 only where a state is impossible; none is here.
    np.testing.assert_allclose(np.exp(known[0]), by_state / by_state.sum(), rtol=1e-6)


def test_rows_before_the_window_do_not_count() -> None:
    truth = _truth(_hmm(rows=300))
    later = truth.select(np.arange(100, 300))

    np.testing.assert_allclose(
        truth.log_probabilities(np.arange(150, 300), window=50),
        later.log_probabilities(np.arange(50, 200), window=50),
    )


def test_predicted_probabilities_come_true() -> None:
    # Of the rows whose majority class has a probability near p, a share of about p has that class.
    dataset = _hmm(rows=200_000, separation=1.0)
    rows = np.arange(100, 200_000)
    probability = np.exp(_truth(dataset).log_probabilities(rows, window=32))[:, 1]

    for low in np.arange(0.1, 0.9, 0.1):
        inside = (probability >= low) & (probability < low + 0.1)
        came = (dataset.labels[rows[inside]] == 1).mean()
        assert came == pytest.approx(probability[inside].mean(), abs=0.03)


@pytest.mark.parametrize(("separation", "accuracy"), [(0.0, 0.57), (1.0, 0.78), (4.0, 0.89)])
def test_separation_moves_the_ceiling_from_the_majority_to_the_label_noise(separation: float, accuracy: float) -> None:
    ceiling = _truth(_hmm(rows=100_000, separation=separation)).ceiling(np.arange(31, 100_000), window=32)

    assert ceiling.bayes_accuracy == pytest.approx(accuracy, abs=0.015)
    assert 0 < ceiling.standard_error < 0.02


def test_separation_0_knows_the_prior_and_no_more() -> None:
    source = HmmSource(rows=50_000, separation=0)
    frequencies = prior_of(source) @ label_probabilities(3, noise=source.label_noise)

    known = np.exp(_truth(make_hmm(source)).log_probabilities(np.arange(99, 199), window=100))

    np.testing.assert_allclose(known, np.broadcast_to(frequencies, known.shape), rtol=1e-6)


def test_the_standard_error_is_about_the_spread_between_seeds() -> None:
    found = [_truth(_hmm(seed=seed, rows=8_000)).ceiling(np.arange(23, 8_000), window=24) for seed in range(24)]

    spread = float(np.std([each.bayes_accuracy for each in found], ddof=1))
    told = float(np.mean([each.standard_error for each in found]))

    assert 0.6 < told / spread < 1.6


def test_the_standard_error_of_independent_blocks_by_hand() -> None:
    # Blocks of one row: the ordinary standard error, deviation / sqrt(n) = 0.5 / 2.
    assert block_standard_error(np.array([0.0, 1.0, 0.0, 1.0]), block=1) == pytest.approx(0.25)
    # Blocks of two rows are all 0.5 on average: nothing varies.
    assert block_standard_error(np.array([0.0, 1.0, 0.0, 1.0]), block=2) == 0.0
    # A block is at most half of the series: means 0, 0.5, 1 of blocks of two; variance 1/6, times 2/4.
    assert block_standard_error(np.array([0.0, 0.0, 1.0, 1.0]), block=99) == pytest.approx(math.sqrt(1 / 12))
