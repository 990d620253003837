from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainmaster_trainer.evaluation import intervals
from trainmaster_trainer.evaluation.intervals import Resampling, block_length, interval
from trainmaster_trainer.evaluation.predictions import Predictions, Times


def _predictions(hits: NDArray[Any], times: Times) -> Predictions:
    """Two classes; class 1 always came, and was predicted where there is a hit."""
    confident = np.log([[0.9, 0.1], [0.1, 0.9]])
    return Predictions(
        log_probabilities=confident[hits.astype(np.int64)], targets=np.ones(len(hits), dtype=np.int64), times=times
    )


def test_a_block_is_three_cube_roots_long_but_holds_two_horizons_and_ten_of_them_fit() -> None:
    assert block_length(10_011, horizon=1) == 65
    assert block_length(10_011, horizon=50) == 100
    assert block_length(100, horizon=24) == 10
    assert block_length(1, horizon=1) == 1


def test_independent_rows_have_the_standard_error_of_the_binomial() -> None:
    hits = np.random.default_rng(0).random(4000) < 0.55
    found = interval(
        Resampling.over(np.arange(4000), horizon=1, seed=0).scores(_predictions(hits, np.arange(4000))).accuracy
    )

    assert found.value == hits.mean()
    assert found.standard_error == pytest.approx(np.sqrt(0.55 * 0.45 / 4000), rel=0.2)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * found.standard_error, rel=0.1)


def test_rows_that_follow_each_other_alike_widen_the_interval() -> None:
    hits = np.repeat(np.random.default_rng(0).random(200) < 0.5, 20)
    resampling = Resampling.over(np.arange(4000), horizon=20, seed=0)

    found = interval(resampling.scores(_predictions(hits, np.arange(4000))).accuracy)

    independent = np.sqrt(0.25 / 4000)
    assert found.standard_error > 3 * independent


def test_rows_of_one_time_stay_together() -> None:
    """Fifty instruments that always agree are one observation per time, not fifty."""
    once = np.random.default_rng(0).random(300) < 0.5
    many, times = np.repeat(once, 50), np.repeat(np.arange(300), 50)

    alone = interval(
        Resampling.over(np.arange(300), horizon=1, seed=3).scores(_predictions(once, np.arange(300))).accuracy
    )
    together = interval(Resampling.over(times, horizon=1, seed=3).scores(_predictions(many, times)).accuracy)

    assert together.standard_error == pytest.approx(alone.standard_error)


def test_the_order_of_rows_does_not_matter_their_times_do() -> None:
    hits = np.repeat(np.random.default_rng(0).random(100) < 0.5, 10)
    order = np.random.default_rng(1).permutation(1000)
    times = np.arange(1000)

    sorted_rows = Resampling.over(times, horizon=1, seed=0).scores(_predictions(hits, times))
    mixed = Resampling.over(times[order], horizon=1, seed=0).scores(_predictions(hits[order], times[order]))

    np.testing.assert_allclose(mixed.accuracy, sorted_rows.accuracy)


def test_each_resample_has_as_many_stamps_as_there_are() -> None:
    resampling = Resampling.over(np.arange(1003), horizon=1, seed=0)

    assert set(resampling.sums(np.ones(1003)).tolist()) == {1003.0}


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    hits, times = np.arange(500) % 3 > 0, np.arange(500)
    drawn = [Resampling.over(times, horizon=1, seed=s).scores(_predictions(hits, times)).accuracy for s in (1, 1, 2)]

    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_more_stamps_than_groups_give_nearly_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = np.repeat(np.random.default_rng(0).random(500) < 0.5, 10)
    times = np.arange(5000)
    fine = interval(Resampling.over(times, horizon=10, seed=0).scores(_predictions(hits, times)).accuracy)
    monkeypatch.setattr(intervals, "MAX_GROUPS", 1000)
    monkeypatch.setattr(intervals, "GATHERED_AT_ONCE", 1000)

    coarse = Resampling.over(times, horizon=10, seed=0)
    found = interval(coarse.scores(_predictions(hits, times)).accuracy)

    assert coarse.groups == 1000
    assert found.value == fine.value
    assert found.standard_error == pytest.approx(fine.standard_error, rel=0.2)


def test_a_single_row_has_a_value_and_no_spread() -> None:
    found = interval(
        Resampling.over(np.arange(1), horizon=1, seed=0).scores(_predictions(np.ones(1), np.arange(1))).accuracy
    )

    assert (found.value, found.low, found.high, found.standard_error) == (1.0, 1.0, 1.0, 0.0)
