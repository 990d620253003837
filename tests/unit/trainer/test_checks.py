"""Columns whose scale changes between train and test."""

from dataclasses import replace

import pytest

from trainmaster.api.synthetic import HmmSource
from trainmaster_trainer.market.checks import Drift, drifted_columns
from trainmaster_trainer.market.dataset import Dataset, usable_rows
from trainmaster_trainer.market.split import Split, split_dataset
from trainmaster_trainer.synthetic.hmm import make_hmm


def _dataset() -> tuple[Dataset, Split]:
    dataset = make_hmm(HmmSource(rows=10_000, columns=4))
    usable = usable_rows(dataset, window=8)
    return dataset, split_dataset(dataset, usable=usable, embargo=8, validation_share=0.1, test_share=0.2)


def test_data_of_one_kind_is_not_blamed() -> None:
    dataset, split = _dataset()

    assert drifted_columns(dataset, split) == ()


@pytest.mark.parametrize("factor", [1000.0, 0.01])
def test_a_column_in_another_unit_is_named_with_the_statistic(factor: float) -> None:
    dataset, split = _dataset()
    dataset.values[split.test[0] :, 2] *= factor

    (drift,) = drifted_columns(dataset, split)

    assert drift.column == "x2"
    assert drift.spread_ratio == pytest.approx(factor, rel=0.1)


def test_a_column_that_has_moved_away_is_named() -> None:
    dataset, split = _dataset()
    dataset.values[split.test[0] :, 1] += 50

    (drift,) = drifted_columns(dataset, split)

    assert drift.column == "x1"
    assert drift.spread_ratio == pytest.approx(1, abs=0.2)
    assert drift.shift > 20


def test_a_single_crash_in_test_is_no_other_scale() -> None:
    dataset, split = _dataset()
    dataset.values[split.test[5:15], 0] = 1e6

    assert drifted_columns(dataset, split) == ()


def test_a_column_of_one_value_has_no_scale_to_compare_with() -> None:
    dataset, split = _dataset()
    values = dataset.values.copy()
    values[:, 3] = 7.0
    values[split.test[0] :, 3] = 8.0

    assert drifted_columns(replace(dataset, values=values), split) == ()


def test_the_words_hold_the_numbers() -> None:
    text = str(Drift(column="volume", spread_ratio=1000.0, shift=2.5))

    assert "column volume" in text
    assert "its interquartile range is 1e+03 times" in text
    assert "its median 2.5 of these ranges away" in text
