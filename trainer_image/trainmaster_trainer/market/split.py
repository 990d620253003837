"""Walk-forward blocks: train | gap | validation | gap | test, in the order of time.

A row is the index of the bar whose close the prediction is made at. Its label ends `horizon` bars later. A row stays in
a block only if its label ended before the next block's first row, minus the embargo: so nothing that a block was fitted
or chosen by reaches into the block that judges it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.dataset import Dataset, Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Rows of the three blocks, each ascending."""

    train: Rows
    validation: Rows
    test: Rows


def split_dataset(dataset: Dataset, *, usable: Rows, embargo: int, validation_share: float, test_share: float) -> Split:
    """Split rows by time, all instruments at once: no time stamp is in two blocks.

    `usable` are the rows to split, ascending; the shares are of their number. `embargo` counts an instrument's own
    rows. Raises DataError if a block has no row.
    """
    times = np.sort(dataset.time[usable])
    test_first = len(times) - round(len(times) * test_share)
    validation_first = test_first - round(len(times) * validation_share)
    if not 0 < validation_first < test_first < len(times):
        _refuse(len(times), block="validation" if validation_first >= test_first else "train or test", embargo=embargo)
    return split_at(
        dataset,
        usable=usable,
        embargo=embargo,
        validation_start=times[validation_first],
        test_start=times[test_first],
    )


def split_at(  # two times and what they cut, all by keyword
    dataset: Dataset,
    *,
    usable: Rows,
    embargo: int,
    validation_start: np.datetime64,
    test_start: np.datetime64,
    test_end: np.datetime64 | None = None,
) -> Split:
    """Split rows at two times; the test block ends before a third, if one is given.

    A row stays in a block only if, counted in rows of its own instrument, its label ended more than `embargo` rows
    before the instrument's first row of the next block. Raises DataError if a block has no row.
    """
    times = dataset.time[usable]
    reach = usable + dataset.horizon + embargo
    before_validation = reach < _first_rows(dataset, validation_start)[usable]
    before_test = reach < _first_rows(dataset, test_start)[usable]
    split = Split(
        train=usable[before_validation],
        validation=usable[(times >= validation_start) & before_test],
        test=usable[(times >= test_start) & (times < test_end if test_end is not None else True)],
    )
    for name, rows in (("train", split.train), ("validation", split.validation), ("test", split.test)):
        if len(rows) == 0:
            _refuse(len(usable), block=name, embargo=embargo)
    return split


def _first_rows(dataset: Dataset, time: np.datetime64) -> Rows:
    """For each row the first row of its instrument at or after a time; the instrument's end where there is none."""
    firsts = np.empty(len(dataset), dtype=np.int64)
    for start, end in zip(dataset.starts, dataset.ends, strict=True):
        firsts[start:end] = start + np.searchsorted(dataset.time[start:end], time)
    return firsts


def _refuse(count: int, *, block: str, embargo: int) -> NoReturn:
    message = (
        f"{count} usable rows leave none for the {block} block (embargo {embargo}): give more rows, a smaller embargo "
        "or other shares"
    )
    raise DataError(message)
