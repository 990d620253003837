import numpy as np
import pytest

from trainmaster_trainer.market.scaler import Scaler


def test_the_scaler_knows_its_rows_and_no_others() -> None:
    values = np.array([[1.0, 5.0], [3.0, 6.0], [1e9, 7.0]])

    scaler = Scaler.fit(values, rows=np.array([0, 1]))

    assert scaler.rows == 2
    assert scaler.apply(values, limit=4.0).tolist() == [[-1.0, -1.0], [1.0, 1.0], [4.0, 3.0]]


@pytest.mark.parametrize("constant", [5.0, 0.0, 1e-3, 1e7])
def test_a_column_that_is_constant_in_train_is_dropped_everywhere(constant: float) -> None:
    values = np.array([[1.0, constant], [3.0, constant], [9.0, constant + 2.0]], dtype=np.float32)

    scaler = Scaler.fit(values, rows=np.array([0, 1]))

    assert scaler.constant == (1,)
    assert scaler.apply(values, limit=5.0)[:, 1].tolist() == [0.0, 0.0, 0.0]


def test_a_small_column_is_not_taken_for_a_constant() -> None:
    values = np.array([[1e-9], [3e-9]], dtype=np.float32)

    assert Scaler.fit(values, rows=np.array([0, 1])).constant == ()


def test_many_rows_in_single_precision_have_the_exact_mean_and_deviation() -> None:
    # Far from 0, where sums in single precision would be off by a deviation.
    values = (1e4 + np.random.default_rng(0).standard_normal((200_000, 2))).astype(np.float32)
    rows = np.arange(0, 200_000, 2)

    scaler = Scaler.fit(values, rows=rows)

    exact = values[rows].astype(np.float64)
    np.testing.assert_allclose(scaler.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaler.deviation, exact.std(axis=0), rtol=1e-9)


def test_in_place_is_the_same_and_what_is_not_known_becomes_the_mean() -> None:
    values = np.random.default_rng(0).standard_normal((100_000, 3)).astype(np.float32)
    scaler = Scaler.fit(values, rows=np.arange(1000))
    expected = scaler.apply(values, limit=2.0).astype(np.float32)
    values[5, 1], expected[5, 1] = np.nan, 0.0

    scaler.scale(values, limit=2.0)

    np.testing.assert_array_equal(values, expected)
