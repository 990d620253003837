"""The split of one series by arithmetic on row numbers: what `split_dataset` is compared with."""

from __future__ import annotations

import numpy as np

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.dataset import Rows
from trainmaster_trainer.market.split import Split


def walk_forward(  # six numbers that mean nothing without each other, all by keyword
    *, first: int, last: int, horizon: int, embargo: int, validation_share: float, test_share: float
) -> Split:
    """Split the rows `first` to `last`, both included; the shares are of their number.

    Raises DataError if a block has no row.
    """
    count = max(last - first + 1, 0)
    test_start = last + 1 - round(count * test_share)
    validation_start = test_start - round(count * validation_share)
    split = Split(
        train=_ended_before(validation_start, first=first, horizon=horizon, embargo=embargo),
        validation=_ended_before(test_start, first=validation_start, horizon=horizon, embargo=embargo),
        test=np.arange(test_start, last + 1, dtype=np.int64),
    )
    for name, rows in (("train", split.train), ("validation", split.validation), ("test", split.test)):
        if len(rows) == 0:
            message = (
                f"{count} usable rows leave none for the {name} block (horizon {horizon}, embargo {embargo}, "
                f"validation_share {validation_share}, test_share {test_share}): give more bars or a smaller embargo"
            )
            raise DataError(message)
    return split


def _ended_before(start: int, *, first: int, horizon: int, embargo: int) -> Rows:
    """Rows from `first` whose label ended before `start - embargo`."""
    return np.arange(first, max(start - embargo - horizon, first), dtype=np.int64)
