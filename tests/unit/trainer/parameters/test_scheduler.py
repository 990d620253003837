"""All knobs together: one owner each, corrections that hold, a history, and nothing that a restart could change."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.parameters import Change, ParamScheduler, schedules_of
from trainmaster_trainer.parameters.scheduler import HISTORY_LIMIT

BASE = {"learning_rate": 0.1, "dropout": 0.4, "weight_decay": 0.01, "gaussian_noise_std": 0.0}
EPOCHS, PER_EPOCH = 10, 5


def scheduler(*schedules: ParameterSchedule, limits: dict[str, tuple[float, float]] | None = None) -> ParamScheduler:
    return ParamScheduler(schedules, base=BASE, epochs=EPOCHS, steps_per_epoch=PER_EPOCH, limits=limits or {})


COSINE = ParameterSchedule(parameter="learning_rate", strategy="cosine", to="0", every=2, growth=2)
PLATEAU = ParameterSchedule(parameter="learning_rate", strategy="plateau", multiply="0.5", patience=1)
DROPOUT_DOWN = ParameterSchedule(parameter="dropout", strategy="linear", to="0.2", start=2, end=4)


def test_losses_that_are_no_numbers_change_nothing() -> None:
    troubled, calm = scheduler(PLATEAU), scheduler(PLATEAU)
    for loss in (math.nan, math.inf, -math.inf, 0.0):
        troubled.observe(loss, steps_done=1)

    for epoch in range(200):
        for one in (troubled, calm):
            one.observe(1.0 + epoch % 3, steps_done=2 + epoch % 40)

    assert troubled.state_dict() == calm.state_dict()
    assert troubled.values(49) == calm.values(49)


def test_a_correction_that_is_no_number_is_passed_over() -> None:
    moved = scheduler(COSINE)

    for value in (math.nan, math.inf, -math.inf):
        moved.rebase({"learning_rate": value}, step=3, cause="broken")

    assert moved.base == BASE
    assert [moved.values(step) for step in (3, 7, 49)] == [scheduler(COSINE).values(step) for step in (3, 7, 49)]


def test_what_no_entry_moves_stays_what_it_is() -> None:
    assert all(scheduler().values(step) == BASE for step in (0, 1, 49, 10**6))


def test_what_is_no_knob_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="epochs cannot move; these can: learning_rate, dropout"):
        scheduler(ParameterSchedule(parameter="epochs", strategy="linear", to="1"))


def test_before_an_entry_is_the_own_value_and_after_it_the_last() -> None:
    values = [scheduler(DROPOUT_DOWN).values(step)["dropout"] for step in (0, 10, 15, 20, 49)]

    assert values == pytest.approx([0.4, 0.4, 0.3, 0.2, 0.2])


def test_entries_follow_each_other_without_a_jump() -> None:
    chain = scheduler(
        ParameterSchedule(parameter="learning_rate", strategy="cosine", to="0.01", start=4),
        ParameterSchedule(parameter="learning_rate", strategy="linear", to="0.05", start=2, end=4),
        ParameterSchedule(parameter="learning_rate", strategy="warmup", start=0, end=2),
    )

    rates = [chain.values(step)["learning_rate"] for step in (0, 5, 10, 15, 20, 35, 50)]

    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.075, 0.05, 0.03, 0.01])


def test_a_correction_scales_what_the_schedule_makes() -> None:
    moved = scheduler(COSINE, DROPOUT_DOWN)
    plain = scheduler(COSINE, DROPOUT_DOWN)

    moved.rebase({"learning_rate": 0.05}, step=7, cause="halve")

    for step in (7, 8, 13, 40):
        assert moved.values(step)["learning_rate"] == pytest.approx(plain.values(step)["learning_rate"] / 2)
        assert moved.values(step)["dropout"] == plain.values(step)["dropout"]


def test_a_correction_of_a_value_of_0_is_added_since_0_has_no_proportion() -> None:
    noisy = scheduler(ParameterSchedule(parameter="gaussian_noise_std", strategy="linear", to="0.1"))

    noisy.rebase({"gaussian_noise_std": 0.02}, step=0, cause="more")

    assert noisy.values(25)["gaussian_noise_std"] == pytest.approx(0.07)


def test_no_correction_leads_out_of_the_limits() -> None:
    limited = scheduler(
        ParameterSchedule(parameter="dropout", strategy="linear", to="0.9"), limits={"dropout": (0.0, 0.95)}
    )

    limited.rebase({"dropout": 0.8}, step=0, cause="more")

    assert limited.values(49)["dropout"] == 0.95


def test_restarts_of_the_learning_rate_are_told_and_nothing_else_is() -> None:
    other = ParameterSchedule(parameter="dropout", strategy="cosine", to="0", every=1)

    assert [step for step in range(50) if scheduler(COSINE, other).restarts_at(step)] == [10, 30]
    assert [step for step in range(50) if scheduler(DROPOUT_DOWN).restarts_at(step)] == []


def test_an_entry_that_begins_above_the_value_before_it_is_a_restart() -> None:
    again = scheduler(
        ParameterSchedule(parameter="learning_rate", strategy="linear", to="0.01", end=5),
        ParameterSchedule(parameter="learning_rate", strategy="linear", from_="0.1", to="0.001", start=5),
    )

    assert [step for step in range(50) if again.restarts_at(step)] == [25]


def test_patience_may_judge_at_the_end_of_a_cycle_only() -> None:
    ends = [epoch for epoch in range(1, EPOCHS + 1) if scheduler(COSINE).may_be_judged(epoch * PER_EPOCH)]

    assert ends == [2, 6, 10]
    assert all(scheduler(DROPOUT_DOWN).may_be_judged(steps) for steps in range(51))


def test_a_plateau_counts_within_its_stretch_only() -> None:
    late = scheduler(
        ParameterSchedule(parameter="learning_rate", strategy="plateau", multiply="0.5", patience=0, start=5)
    )

    for epoch in range(1, EPOCHS + 1):
        late.observe(1.0, steps_done=epoch * PER_EPOCH)

    # Epoch 6 is the first that counts, and the best; 7 to 10 are no better.
    assert late.values(49)["learning_rate"] == pytest.approx(0.1 / 2**4)


def test_the_history_tells_each_change_once() -> None:
    told = scheduler(DROPOUT_DOWN)

    for epoch in range(1, EPOCHS + 1):
        told.observe(1.0, steps_done=epoch * PER_EPOCH)
        if epoch == 3:
            told.rebase({"learning_rate": 0.05}, step=15, cause="loss explosion")

    halfway = told.values(15)["dropout"]
    assert halfway == pytest.approx(0.3)
    assert told.history == (
        Change(step=15, parameter="dropout", before=0.4, after=halfway, cause="schedule"),
        Change(step=15, parameter="learning_rate", before=0.1, after=0.05, cause="loss explosion"),
        Change(step=20, parameter="dropout", before=halfway, after=0.2, cause="schedule"),
    )
    assert told.metrics(20) == {"dropout": 0.2, "param_scheduler.total_changes": 3.0}


def test_the_history_is_bounded_but_all_changes_are_counted() -> None:
    busy = scheduler()

    for number in range(HISTORY_LIMIT + 10):
        busy.rebase({"learning_rate": 0.1 + number / 10_000}, step=number, cause="test")

    assert len(busy.history) == HISTORY_LIMIT
    assert busy.metrics(0)["param_scheduler.total_changes"] == HISTORY_LIMIT + 9


@given(losses=st.lists(st.floats(allow_nan=True), min_size=1, max_size=10), stop=st.integers(0, 9))
def test_a_restart_changes_nothing(losses: list[float], stop: int) -> None:
    entries = (PLATEAU, DROPOUT_DOWN)
    whole, first, second = scheduler(*entries), scheduler(*entries), scheduler(*entries)

    for epoch, loss in enumerate(losses, start=1):
        one = first if epoch <= stop else second
        if epoch == stop + 1:
            second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for each in (whole, one):
            each.observe(loss, steps_done=epoch * PER_EPOCH)
            if epoch == 2:
                each.rebase({"learning_rate": 0.07}, step=epoch * PER_EPOCH, cause="test")

    last = second if len(losses) > stop else first
    assert last.state_dict() == whole.state_dict()
    assert last.values(49) == whole.values(49)


@pytest.mark.parametrize(
    ("given_values", "rates"),
    [
        ({"lr_scheduler": "constant"}, [1, 1, 1, 1]),
        ({"scheduler_t_0": 2, "scheduler_t_mult": 1}, [1, 0.5, 1, 0.5]),
        ({"lr_scheduler": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"lr_scheduler": "exponential"}, [1, 0.01**0.25, 0.1, 0.01**0.75]),
        ({"lr_scheduler": "cosine"}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ({"lr_scheduler": "step", "scheduler_step_size": 2, "scheduler_gamma": 0.1}, [1, 1, 0.1, 0.1]),
        ({"lr_scheduler": "warmup-cosine", "warmup_epochs": 2}, [0, 0.5, 1, 0.5]),
        # Two validations without a better loss are borne by a patience of 1: the fourth epoch is cut.
        ({"lr_scheduler": "plateau", "lr_plateau_patience": 1}, [1, 1, 1, 0.5]),
    ],
)
def test_each_scheduler_of_the_learning_rate(given_values: dict[str, object], rates: list[float]) -> None:
    h = MarketClassifierHyperparameters.model_validate({"epochs": 4, "learning_rate": 0.02, **given_values})
    moved = ParamScheduler(schedules_of(h), base={"learning_rate": 0.02}, epochs=4, steps_per_epoch=3)

    seen = []
    for epoch in range(4):
        seen.append(moved.values(epoch * 3)["learning_rate"])
        moved.observe(1.0, steps_done=(epoch + 1) * 3)

    assert seen == pytest.approx([0.02 * rate for rate in rates])
