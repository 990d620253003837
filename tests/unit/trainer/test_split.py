from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.support.walk_forward import walk_forward
from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.dataset import UNKNOWN, Dataset, usable_rows
from trainmaster_trainer.market.split import Split, split_at, split_dataset


def _split(*, first: int = 0, last: int = 99, horizon: int = 1, embargo: int = 0) -> Split:
    return walk_forward(first=first, last=last, horizon=horizon, embargo=embargo, validation_share=0.1, test_share=0.2)


@pytest.mark.parametrize(
    ("horizon", "embargo", "train_last", "validation_last"),
    [
        (1, 0, 68, 78),  # the label of row 68 ends at 69, before row 70, the first of validation
        (3, 0, 66, 76),
        (1, 5, 63, 73),
        (3, 5, 61, 71),
    ],
)
def test_blocks_of_a_hundred_rows_by_hand(horizon: int, embargo: int, train_last: int, validation_last: int) -> None:
    split = _split(horizon=horizon, embargo=embargo)

    assert split.train.tolist() == list(range(train_last + 1))
    assert split.validation.tolist() == list(range(70, validation_last + 1))
    assert split.test.tolist() == list(range(80, 100))


@given(
    first=st.integers(0, 200),
    count=st.integers(1, 2000),
    horizon=st.integers(1, 50),
    embargo=st.integers(0, 100),
    shares=st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4)),
)
def test_no_label_reaches_the_next_block_or_its_embargo(
    first: int, count: int, horizon: int, embargo: int, shares: tuple[float, float]
) -> None:
    blocks: dict[str, Any] = {
        "first": first,
        "last": first + count - 1,
        "horizon": horizon,
        "embargo": embargo,
        "validation_share": shares[0],
        "test_share": shares[1],
    }
    try:
        split = walk_forward(**blocks)
    except DataError:
        event("refused: a block without a row")
        return

    assert split.train[0] == first
    assert split.test[-1] == first + count - 1
    assert split.train[-1] + horizon < split.validation[0] - embargo
    assert split.validation[-1] + horizon < split.test[0] - embargo
    assert split.train[-1] + horizon == split.validation[0] - embargo - 1, "no row is dropped without need"


@pytest.mark.parametrize(
    ("last", "embargo", "block"), [(3, 0, "validation"), (20, 20, "train"), (29, 10, "validation")]
)
def test_a_block_without_a_row_is_refused_by_name(last: int, embargo: int, block: str) -> None:
    with pytest.raises(DataError, match=f"none for the {block} block .*embargo {embargo}"):
        _split(last=last, embargo=embargo, horizon=2)


def _dataset(*times: list[int], horizon: int = 1) -> Dataset:
    """A dataset of instruments whose rows come at these hours; all features and labels are known."""
    hours = np.concatenate([np.array(each) for each in times])
    labels = np.zeros(len(hours), dtype=np.int64)
    ends = np.cumsum([len(each) for each in times])
    for end in ends:
        labels[end - horizon : end] = UNKNOWN
    return Dataset(
        name="rows", fingerprint="", feature_names=("x",), classes=("a", "b"), horizon=horizon,
        values=np.zeros((len(hours), 1), dtype=np.float32), labels=labels,
        time=np.datetime64("2020-01-01", "ns") + hours * np.timedelta64(1, "h"),
        instruments=tuple(f"i{n}" for n in range(len(times))), starts=(0, *(int(end) for end in ends[:-1])),
    )  # fmt: skip


@given(count=st.integers(30, 300), horizon=st.integers(1, 5), embargo=st.integers(0, 20))
def test_one_instrument_is_split_as_its_rows_are(count: int, horizon: int, embargo: int) -> None:
    dataset = _dataset(list(range(count)), horizon=horizon)
    shares = {"embargo": embargo, "validation_share": 0.1, "test_share": 0.2}
    usable = usable_rows(dataset, window=1)
    try:
        expected = walk_forward(first=0, last=count - 1 - horizon, horizon=horizon, **shares)  # type: ignore[arg-type]  # numbers of two kinds
    except DataError:
        with pytest.raises(DataError, match="leave none for the"):
            split_dataset(dataset, usable=usable, **shares)  # type: ignore[arg-type]  # numbers of two kinds
        return

    split = split_dataset(dataset, usable=usable, **shares)  # type: ignore[arg-type]  # numbers of two kinds

    for block in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(split, block), getattr(expected, block))


def test_several_instruments_are_cut_at_the_same_times() -> None:
    # One trades every hour, one every other hour, one stopped early.
    dataset = _dataset(list(range(100)), list(range(0, 100, 2)), list(range(40)))

    split = split_dataset(
        dataset, usable=usable_rows(dataset, window=1), embargo=0, validation_share=0.1, test_share=0.2
    )

    times = {name: set(dataset.time[getattr(split, name)]) for name in ("train", "validation", "test")}
    assert max(times["train"]) < min(times["validation"])
    assert max(times["validation"]) < min(times["test"])


def test_the_embargo_counts_rows_of_the_instrument() -> None:
    # Validation begins at hour 50, test at hour 80: rows 50 and 80 of the first, 125 and 140 of the second instrument.
    dataset = _dataset(list(range(100)), list(range(0, 100, 2)))
    start = np.datetime64("2020-01-01", "ns")

    split = split_at(
        dataset, usable=usable_rows(dataset, window=1), embargo=3,
        validation_start=start + np.timedelta64(50, "h"), test_start=start + np.timedelta64(80, "h"),
    )  # fmt: skip

    # By hand: a row stays if row + horizon 1 + embargo 3 lies before the first row of the next block.
    assert split.train.tolist() == [*range(46), *range(100, 121)]
    assert split.validation.tolist() == [*range(50, 76), *range(125, 136)]
    assert split.test.tolist() == [*range(80, 99), *range(140, 149)]


def test_a_test_block_may_end_before_the_data() -> None:
    dataset = _dataset(list(range(100)))
    start = np.datetime64("2020-01-01", "ns")
    cuts = [start + np.timedelta64(hours, "h") for hours in (50, 60, 70)]

    split = split_at(
        dataset, usable=usable_rows(dataset, window=1), embargo=0,
        validation_start=cuts[0], test_start=cuts[1], test_end=cuts[2],
    )  # fmt: skip

    assert split.test.tolist() == list(range(60, 70))


def test_windows_never_cross_instruments_nor_touch_a_row_that_is_not_known() -> None:
    dataset = _dataset(list(range(10)), list(range(10)))
    dataset.values[4] = np.nan

    # Windows of 3: rows 0-1 and 10-11 begin an instrument, 4-6 see the gap, 9 and 19 have no label.
    assert usable_rows(dataset, window=3).tolist() == [2, 3, 7, 8, *range(12, 19)]


def test_an_instrument_shorter_than_a_window_has_no_rows() -> None:
    dataset = _dataset(list(range(3)), list(range(8)))

    assert usable_rows(dataset, window=5).tolist() == [3 + 4, 3 + 5, 3 + 6]
