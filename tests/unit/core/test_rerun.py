"""A rerun is a fresh series under the same object."""

from __future__ import annotations

from typing import Any

from tests.support.runs import (
    PLAN,
    T0,
    at,
    conditions_of,
    decision_of,
    job_of,
    look,
    message_of,
    point_of,
    run_of,
    states,
    status_of,
    trainer_of,
    verdict_of,
)
from trainmaster.api.conditions import DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.trainingrun import Attempt, TrainingRunStatus
from trainmaster.api.transitions import is_untrained
from trainmaster.core.plan import awaits_plan

LAUNCH = DecisionKind.LAUNCH
END = DecisionKind.END_LAUNCH
CLEAN_UP = DecisionKind.CLEAN_UP
OPEN = DecisionState.RECORDED
VOID = DecisionState.VOID

FAILED = status_of(
    phase=Phase.FAILED,
    launch=3,
    launch_outcome=Reason.CRASHED,
    completion_time=T0,
    start_time=T0,
    active_seconds=500,
    crashes=21,
    launch_crashes=3,
    disruptions=2,
    heals=4,
    quick_ends=7,
    metrics={"val_loss": "1"},
    attempts=(Attempt(number=5, cause="GradientExplosion", start_time=T0, launch=2, outcome="Crashed"),),
    plan=PLAN.model_copy(update={"generation": 5}),
)


def test_a_rerun_resets_counters_and_goes_on_with_launches_and_generations() -> None:
    status = look(run_of(status=FAILED, rerun="again"), job_of("Failed", launch=3), now=at(9)).status
    assert (status.launch, status.reruns, status.observed_rerun) == (4, 1, "again")
    assert status.plan is not None
    assert (status.plan.generation, status.plan.base_generation) == (6, 6)
    assert (status.decisions[-1].kind, status.decisions[-1].reason) == (LAUNCH, Reason.RERUN)
    assert (status.crashes, status.launch_crashes, status.disruptions, status.heals, status.quick_ends) == (0,) * 5
    assert (status.completion_time, status.start_time, status.active_seconds, status.metrics) == (None, None, 0, {})
    assert [(a.number, a.outcome) for a in status.attempts] == [(5, "Crashed"), (6, None)]
    assert conditions_of(status) == {"Ready": "False", "Reconciling": "True", "Succeeded": "Unknown"}


def test_a_run_that_failed_does_not_start_again_by_itself() -> None:
    for live in (False, True):
        result = look(run_of(status=FAILED), job_of("Failed", launch=3), now=at(10**7), live=live)
        assert (result.status.phase, result.status.launch, result.effects) == (Phase.FAILED, 3, ())
        assert result.look_live is False


def test_a_rerun_of_a_running_run_ends_its_launch_first() -> None:
    ordered = look(run_of(status=status_of(), rerun="again"), job_of()).status
    assert ([(d.kind, d.reason) for d in ordered.decisions], ordered.reruns) == ([(END, Reason.RERUN)], 0)

    status = look(run_of(status=ordered, rerun="again")).status
    assert (status.reruns, status.launch, states(status)[-1]) == (1, 2, (LAUNCH, 2, OPEN))


def test_a_rerun_while_suspended_waits_for_its_first_launch() -> None:
    suspended = status_of(launch_outcome=Reason.SUSPEND_REQUESTED, phase=Phase.SUSPENDED, crashes=3)
    status = look(run_of(status=suspended, rerun="again", suspend=True)).status
    assert (status.phase, status.reruns, status.launch, status.crashes) == (Phase.SUSPENDED, 1, 1, 0)
    assert awaits_plan(status)

    resumed = look(run_of(status=status, rerun="again")).status
    assert (resumed.launch, resumed.decisions[-1].reason) == (2, Reason.RERUN)
    assert resumed.plan is not None
    assert (resumed.plan.generation, resumed.plan.base_generation) == (2, 2)


def test_what_the_last_reruns_launch_still_tells_is_not_the_new_ones() -> None:
    suspended = status_of(launch_outcome=Reason.SUSPEND_REQUESTED, phase=Phase.SUSPENDED)
    status = look(run_of(status=suspended, rerun="again", suspend=True)).status
    late = trainer_of(crashes=7, step=90, generation=1)
    points = (point_of(5, kind="validation", val_loss=1.0),)
    again = look(
        run_of(status=status, rerun="again", suspend=True),
        job_of("Failed", message=message_of(verdict_of("Retry"), crashes=7)),
        trainer=late,
        points=points,
    ).status
    assert (again.crashes, again.progress, again.metrics) == (0, None, {})


def test_points_of_the_last_rerun_are_not_this_ones_metrics() -> None:
    status = look(run_of(status=FAILED, rerun="again")).status
    points = (
        point_of(90, kind="validation", val_loss=9.0),
        point_of(3, kind="validation", generation=6, val_loss=0.5),
    )
    told = look(run_of(status=status, rerun="again"), job_of(launch=4), trainer=trainer_of(launch=4), points=points)
    assert told.status.metrics == {"val_loss": "0.5"}


def test_a_rerun_does_not_let_the_last_clean_up_take_its_jobs() -> None:
    clean_up = decision_of(CLEAN_UP, launch=3, reason=Reason.TTL_EXPIRED)
    old = job_of("Failed", launch=3)
    status = FAILED.model_copy(update={"decisions": (clean_up,)})
    status = look(run_of(status=status, rerun="again"), old).status
    assert states(status) == [(CLEAN_UP, 3, VOID), (LAUNCH, 4, OPEN)]
    result = look(run_of(status=status, rerun="again"), old, job_of(launch=4))
    assert result.effects == ()


def test_a_rerun_to_what_does_not_fit_fails_with_the_field_and_the_value() -> None:
    run = run_of(status=FAILED, rerun="again", hyperparameters={"learning_rate": -1})
    status = look(run).status
    assert (status.phase, status.launch, status.launch_outcome) == (Phase.FAILED, 3, Reason.INVALID_CONFIGURATION)
    message = next(c.message for c in status.conditions if c.type == "Stalled")
    assert message == (
        "spec.hyperparameters.learning_rate: must be greater than 0 (got -1). "
        "Change it, and spec.rerun with it, and the run begins again"
    )


def test_a_spec_that_makes_no_plan_is_told_all_that_is_wrong_with_it_in_the_words_of_validate() -> None:
    wrong = {"learning_rate": -1, "batchsize": 8, "epochs": "many"}
    status = look(run_of(hyperparameters=wrong)).status

    assert (status.phase, status.launch) == (Phase.FAILED, 0)
    (message,) = {c.message for c in status.conditions}
    assert message == (
        'spec.hyperparameters.batchsize: unknown hyperparameter (got 8); did you mean "batch_size"?. '
        'spec.hyperparameters.epochs: must be a whole number (got "many"). '
        "spec.hyperparameters.learning_rate: must be greater than 0 (got -1). "
        "Nothing was trained yet: change the spec, and the run begins"
    )


def test_a_run_that_failed_before_its_first_launch_begins_when_its_spec_is_mended() -> None:
    wrong = look(run_of(hyperparameters={"learning_rate": -1})).status
    assert is_untrained(wrong), "the API server lets the change through"
    untouched = look(run_of(status=wrong, hyperparameters={"learning_rate": -1})).status
    assert untouched == wrong

    mended = look(run_of(status=wrong, meta={"generation": 2})).status
    assert (mended.launch, mended.decisions[-1].kind, mended.decisions[-1].reason) == (1, LAUNCH, Reason.FIRST_LAUNCH)
    assert mended.completion_time is None
    assert mended.reruns == 1, "the record of the failure keeps its name"

    worse = look(run_of(status=wrong, meta={"generation": 2}, hyperparameters={"learning_rate": -2})).status
    assert (worse.phase, "(got -2)" in worse.conditions[0].message) == (Phase.FAILED, True)


def test_what_was_trained_or_taken_over_begins_anew_with_rerun_only() -> None:
    for status in (FAILED, TrainingRunStatus(phase=Phase.SUCCEEDED, observed_generation=1)):
        assert not is_untrained(status)
        assert look(run_of(status=status, meta={"generation": 9})).status.phase == status.phase


def test_the_first_value_of_rerun_is_no_rerun() -> None:
    status = look(run_of(rerun="from-the-start")).status
    assert (status.reruns, status.observed_rerun, status.decisions[-1].reason) == (
        0,
        "from-the-start",
        Reason.FIRST_LAUNCH,
    )


def test_foreign_code_without_hyperparameters_keeps_its_plan_over_launches() -> None:
    custom: dict[str, Any] = {"workload": "custom", "command": ("python", "t.py"), "hyperparameters": {}, "data": None}
    status = look(run_of(**custom)).status
    status = look(run_of(status=status, **custom), job_of("Failed", exit_code=75)).status
    assert (status.launch, status.decisions[-1].reason) == (2, Reason.DISRUPTED)
    assert status.plan is not None
    assert (status.plan.generation, status.plan.base_generation) == (1, 1)
