from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.checks import (
    check_fitted_rows,
    check_labels_end,
    check_look_ahead,
    check_prepared,
    check_scaler,
    check_times,
    check_visited_rows,
)
from trainmaster_trainer.audit.findings import AuditFinding, Severity
from trainmaster_trainer.audit.pipeline import Prepared, ScalerFacts
from trainmaster_trainer.evaluation.predictions import Floats, Times

HORIZON, EMBARGO = 2, 3


def _prepared() -> Prepared:
    """Thirty rows, a label that ends two rows later, three rows of embargo: train 0-9, validation 15-17, test 23-29."""
    values = np.random.default_rng(0).normal(size=(30, 2))
    train = np.arange(10)
    return Prepared(
        features=values.astype(np.float32),
        labels=np.zeros(30, dtype=np.int64),
        times=np.arange(30),
        label_ends=np.arange(30) + HORIZON,
        classes=2,
        horizon=HORIZON,
        embargo=EMBARGO,
        train=train,
        validation=np.arange(15, 18),
        test=np.arange(23, 30),
        visited=np.r_[train, train[:3]],
        fitted={"scaler": train},
        scaler=ScalerFacts(unscaled=values, mean=values[:10].mean(axis=0), deviation=values[:10].std(axis=0)),
    )


def test_a_sound_pipeline_has_no_finding() -> None:
    assert check_prepared(_prepared()) == []


def test_a_time_in_two_blocks_is_refused_with_both_names() -> None:
    prepared = _prepared()
    prepared.times[23] = 15

    (finding,) = check_times(prepared)

    assert (finding.code, finding.severity) == (codes.BLOCKS_SHARE_TIMES, Severity.REFUSE)
    assert "1 time stamps are in the validation block and in the test block, the first is 15" in finding.message


@pytest.mark.parametrize(("last", "late"), [(11, 0), (12, 0), (13, 1), (14, 2)])
def test_a_label_that_ends_when_the_next_block_has_begun_is_refused(last: int, late: int) -> None:
    """The label of row 13 ends at 15, the first row of validation."""
    prepared = replace(_prepared(), train=np.arange(last + 1), embargo=0)

    found = check_labels_end(prepared)

    assert [each.code for each in found] == [codes.LABEL_REACHES_NEXT_BLOCK] * bool(late)
    assert all(f"{late} of {last + 1} labels of the train block" in each.message for each in found)


def test_an_embargo_that_is_not_kept_is_flagged_with_both_lengths() -> None:
    """The label of row 9 ends at 11; 12, 13 and 14 lie between it and validation."""
    (finding,) = check_labels_end(replace(_prepared(), train=np.arange(11)))

    assert (finding.code, finding.severity) == (codes.EMBARGO_TOO_SHORT, Severity.FLAG)
    assert "2 stamps lie between the last label of the train block and the validation block" in finding.message


def test_a_step_that_was_fitted_on_a_test_row_is_refused_by_name() -> None:
    prepared = replace(_prepared(), fitted={"scaler": np.arange(5), "feature selection": np.r_[0:10, 24, 16]})

    (finding,) = check_fitted_rows(prepared)

    assert finding.code == codes.FITTED_ON_OTHER_ROWS
    assert "feature selection was fitted on 2 rows" in finding.message
    assert "1 in validation, 1 in test, row 16 the first" in finding.message


def test_an_epoch_that_visits_a_validation_row_is_refused() -> None:
    (finding,) = check_visited_rows(replace(_prepared(), visited=np.r_[0:10, 15, 15]))

    assert finding.code == codes.EPOCH_VISITS_OTHER_ROWS
    assert "1 rows outside the train block (1 in validation, 0 in test" in finding.message


@pytest.mark.parametrize("rows", [11, 30])
def test_a_scaler_that_knows_one_more_row_is_refused_whatever_it_says(rows: int) -> None:
    prepared = _prepared()
    assert prepared.scaler is not None
    values = prepared.scaler.unscaled
    foreign = replace(prepared.scaler, mean=values[:rows].mean(axis=0), deviation=values[:rows].std(axis=0))

    (finding,) = check_scaler(replace(prepared, scaler=foreign))

    assert finding.code == codes.SCALER_KNOWS_OTHER_ROWS
    assert "not those of the 10 train rows in 2 of 2 features" in finding.message


def test_a_scaler_of_nan_is_refused_and_a_dropped_or_constant_column_is_not() -> None:
    prepared = _prepared()
    assert prepared.scaler is not None
    broken = replace(prepared.scaler, mean=np.array([np.nan, 0.0]))
    constant = ScalerFacts(unscaled=np.ones((30, 2)), mean=np.array([1.0, 1.0]), deviation=np.array([np.inf, 1.0]))

    assert [each.code for each in check_scaler(replace(prepared, scaler=broken))] == [codes.SCALER_KNOWS_OTHER_ROWS]
    assert check_scaler(replace(prepared, scaler=constant)) == []
    assert check_scaler(replace(prepared, scaler=None)) == []


SERIES = np.random.default_rng(0).normal(size=100)


def _causal(series: Floats) -> Floats:
    return np.concatenate([[np.nan], series[:-1]])


def _late(series: Floats) -> Floats:
    return np.concatenate([series[1:], [np.nan]])


def _normalised_by_all(series: Floats) -> Floats:
    return series - float(series.mean())


def _look_ahead(second: Callable[[Floats], Floats]) -> list[AuditFinding]:
    """What is found of a harmless feature and a second one."""

    def computed(until: int | None) -> tuple[Times, Floats]:
        series = SERIES if until is None else SERIES[: until + 1]
        return np.arange(len(series)), np.column_stack([_causal(series), second(series)])

    return check_look_ahead(computed, names=("lag", "second"))


@pytest.mark.parametrize("second", [_late, _normalised_by_all])
def test_a_feature_that_changes_when_later_rows_are_taken_away_is_refused_by_name(
    second: Callable[[Floats], Floats],
) -> None:
    (finding,) = _look_ahead(second)

    assert finding.code == codes.FEATURE_SEES_FUTURE
    assert finding.message.startswith("second: ")


@pytest.mark.parametrize("second", [_causal, np.cumsum])
def test_a_feature_of_the_past_is_not(second: Callable[[Floats], Floats]) -> None:
    assert _look_ahead(second) == []


def test_infinities_and_a_single_row_are_compared_as_they_are() -> None:
    def infinite(until: int | None) -> tuple[Times, Floats]:
        rows = 10 if until is None else until + 1
        return np.arange(rows), np.full((rows, 1), -np.inf)

    assert check_look_ahead(infinite) == []
    assert check_look_ahead(lambda _: (np.arange(1), np.zeros((1, 1)))) == []
