from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.split import Scaler, Split, walk_forward


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


def test_the_scaler_knows_its_rows_and_no_others() -> None:
    values = np.array([[1.0, 5.0], [3.0, 5.0], [1e9, 7.0]])

    scaler = Scaler.fit(values, rows=np.array([0, 1]))

    assert scaler.rows == 2
    assert scaler.apply(values, limit=4.0).tolist() == [[-1.0, 0.0], [1.0, 0.0], [4.0, 2.0]]
