"""Repeats and weights of rare classes, worked out by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainmaster_trainer.market.balance import class_counts, class_weights, epoch_rows, raised_counts, shares_after

# Ten rows of class 0, three of class 1, none of class 2, one of class 3.
TARGETS = torch.tensor([0, 0, 0, 1, 0, 0, 1, 0, 0, 3, 0, 1, 0, 0])


def _rows(*, ratio: float = 0.5, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    return epoch_rows(TARGETS, classes=4, ratio=ratio, seed=seed, epoch=epoch)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.0, [10, 3, 0, 1]), (0.3, [10, 3, 0, 3]), (0.5, [10, 5, 0, 5]), (0.51, [10, 6, 0, 6]), (1.0, [10, 10, 0, 10])],
)
def test_rare_classes_are_raised_to_the_ratio_of_the_most_frequent(ratio: float, expected: list[int]) -> None:
    assert raised_counts(class_counts(TARGETS, classes=4), ratio=ratio).tolist() == expected
    assert class_counts(TARGETS[_rows(ratio=ratio)], classes=4).tolist() == expected


def test_a_share_that_is_a_whole_number_of_rows_is_not_rounded_up() -> None:
    # In binary 0.07 * 100 is a little above 7.
    assert raised_counts(torch.tensor([100, 1]), ratio=0.07).tolist() == [100, 7]


def test_every_row_comes_and_repeats_are_even() -> None:
    rows = _rows(ratio=1.0)
    times = torch.bincount(rows, minlength=len(TARGETS))

    assert (times >= 1).all()
    assert times[TARGETS == 0].tolist() == [1] * 10
    assert sorted(times[TARGETS == 1].tolist()) == [3, 3, 4], "ten visits of three rows"
    assert times[TARGETS == 3].tolist() == [10]


def test_an_epoch_is_the_same_each_time_and_another_one_draws_another_rest() -> None:
    assert torch.equal(_rows(epoch=3), _rows(epoch=3))
    assert len({tuple(_rows(epoch=epoch).tolist()) for epoch in range(20)}) > 1
    assert len({len(_rows(epoch=epoch)) for epoch in range(20)}) == 1, "every epoch has the same number of steps"
    assert not all(torch.equal(_rows(seed=1, epoch=e), _rows(seed=2, epoch=e)) for e in range(10))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()

    _rows()

    assert torch.equal(torch.get_rng_state(), before)


@given(targets=st.lists(st.integers(0, 3), min_size=1, max_size=60), ratio=st.floats(0, 1), epoch=st.integers(0, 9))
def test_no_class_appears_that_was_not_there(targets: list[int], ratio: float, epoch: int) -> None:
    given_targets = torch.tensor(targets)
    counts = class_counts(given_targets, classes=4)

    rows = epoch_rows(given_targets, classes=4, ratio=ratio, seed=1, epoch=epoch)

    after = class_counts(given_targets[rows], classes=4)
    assert torch.equal(after, raised_counts(counts, ratio=ratio))
    assert torch.equal(after > 0, counts > 0)
    assert rows[: len(targets)].tolist() == list(range(len(targets)))


def test_weights_are_inverse_to_the_counts_and_1_on_average() -> None:
    # 14 rows of 3 classes that are there: 14 / (3 * 10), 14 / (3 * 3), nothing, 14 / (3 * 1).
    counts = class_counts(TARGETS, classes=4)

    weights = class_weights(counts)

    assert weights.tolist() == pytest.approx([14 / 30, 14 / 9, 0, 14 / 3])
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ratio", "weighted", "expected"),
    [
        (None, False, [10 / 14, 3 / 14, 0, 1 / 14]),
        (0.5, False, [0.5, 0.25, 0, 0.25]),
        (None, True, [1 / 3, 1 / 3, 0, 1 / 3]),
        (0.5, True, [1 / 3, 1 / 3, 0, 1 / 3]),
    ],
)
def test_the_prior_that_a_model_learns(ratio: float | None, weighted: bool, expected: list[float]) -> None:  # noqa: FBT001  # a column of the table
    shares = shares_after(class_counts(TARGETS, classes=4), ratio=ratio, weighted=weighted)

    assert shares.tolist() == pytest.approx(expected)
