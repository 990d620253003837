from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.support.runs import PLAN, UID, run_of, status_of
from trainmaster.api.hyperparameters import Scalar
from trainmaster.api.plan import Plan
from trainmaster.api.trainingrun import PlannedDirective
from trainmaster.core.plan import (
    RESTART_LEASE,
    awaits_plan,
    build_plan,
    first_plan,
    scalar_string,
    without_content,
)

HALVED = PlannedDirective(id="Adjust-1-2-7", generation=2, reason="GradientExplosion", set={"learning_rate": "0.0005"})
RUN = run_of(status=status_of())


def test_the_same_inputs_give_the_same_plan() -> None:
    again = run_of(status=status_of())
    assert build_plan(RUN, RUN.status).model_dump_json() == build_plan(again, again.status).model_dump_json()


def test_a_plan_survives_its_way_to_the_launcher() -> None:
    plan = build_plan(RUN, RUN.status)
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)) == plan


def test_values_are_the_manifests_over_the_defaults() -> None:
    values = build_plan(RUN, RUN.status).hyperparameters
    assert (values["learning_rate"], values["epochs"], values["batch_size"]) == (0.001, 3, 128)
    assert first_plan(RUN, generation=4).hyperparameters["learning_rate"] == "0.001"


def test_a_number_in_quotes_is_that_number() -> None:
    quoted = run_of(hyperparameters={"learning_rate": "5e-5"})
    assert build_plan(quoted, status_of()).hyperparameters["learning_rate"] == 5e-5


def test_a_first_plan_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        first_plan(run_of(hyperparameters={"learning_rate": -1}), generation=1)


def test_presets_stand_between_defaults_and_the_manifests_values_and_are_frozen() -> None:
    run = run_of(presets={"model": "development", "trainer": "production_small"}, hyperparameters={"epochs": 2})

    planned = first_plan(run, generation=1)

    values = planned.base_hyperparameters
    assert (values["hidden_size"], values["learning_rate"], values["epochs"]) == (16, 0.001, 2)
    older = planned.model_copy(update={"base_hyperparameters": {**values, "hidden_size": 20}})
    assert build_plan(run, status_of(plan=older)).hyperparameters["hidden_size"] == 20


def test_a_preset_that_does_not_exist_makes_no_plan() -> None:
    with pytest.raises(ValidationError, match='did you mean "development"'):
        first_plan(run_of(presets={"model": "developement"}), generation=1)


def test_schedules_reach_the_trainer() -> None:
    entry = {"parameter": "dropout", "strategy": "linear", "to": "0.1", "end": 2}
    run = run_of(parameter_schedules=[entry])

    assert first_plan(run, generation=1).base_hyperparameters["dropout"] == 0.4
    assert [one.to_wire() for one in build_plan(run, status_of()).parameter_schedules] == [
        {**entry, "unit": "epochs", "start": 0}
    ]


def test_schedules_that_do_not_fit_make_no_plan() -> None:
    run = run_of(parameter_schedules=[{"parameter": "learning_rate", "strategy": "linear", "to": "0.1"}])

    with pytest.raises(ValidationError, match=r"parameterSchedules\[0\].parameter: has two owners"):
        first_plan(run, generation=1)


def test_there_is_no_plan_before_a_launch_was_recorded() -> None:
    with pytest.raises(ValueError, match="default/market has no plan yet"):
        build_plan(RUN, status_of(plan=None))


def test_directives_are_kept_in_order_and_start_values_stay_what_they_were() -> None:
    later = PlannedDirective(id="Adjust-1-3-9", generation=3, at_step=40, set={"learning_rate": "0.00025"})
    current = PLAN.model_copy(update={"generation": 3, "directives": (HALVED, later)})
    plan = build_plan(RUN, status_of(plan=current))
    assert plan.hyperparameters["learning_rate"] == 0.001
    assert [(d.id, d.generation, d.at_step, d.set) for d in plan.directives] == [
        ("Adjust-1-2-7", 2, None, {"learning_rate": 0.0005}),
        ("Adjust-1-3-9", 3, 40, {"learning_rate": 0.00025}),
    ]
    assert (plan.generation, plan.base_generation) == (3, 1)


def test_a_word_that_a_newer_version_set_stays_a_word() -> None:
    directive = HALVED.model_copy(update={"set": {"lr_scheduler": "constant"}})
    current = PLAN.model_copy(update={"directives": (directive,)})
    assert build_plan(RUN, status_of(plan=current)).directives[0].set == {"lr_scheduler": "constant"}


def test_the_folder_is_that_of_uid_and_rerun() -> None:
    assert build_plan(RUN, status_of(reruns=2)).storage.root == f"pvc://checkpoints/{UID}/2"


@pytest.mark.parametrize(
    ("budget", "crashes", "in_launch", "lease"),
    [
        (20, 0, 0, RESTART_LEASE),
        (20, 5, 5, 5 + RESTART_LEASE),
        (20, 18, 1, 1 + 2),
        (20, 20, 3, 3),
        (20, 25, 3, 3),
        (0, 0, 0, 0),
    ],
)
def test_the_restart_lease_stays_within_the_crash_budget(
    *, budget: int, crashes: int, in_launch: int, lease: int
) -> None:
    run = run_of(recovery={"budgets": {"crashes": budget}})
    assert build_plan(run, status_of(crashes=crashes, launch_crashes=in_launch)).restart_lease == lease


def test_a_rerun_keeps_the_generation_only() -> None:
    kept = without_content(PLAN.model_copy(update={"generation": 7, "directives": (HALVED,), "spec_hash": "ab"}))
    assert (kept.generation, kept.hyperparameters, kept.directives, kept.spec_hash) == (7, {}, (), "")
    assert awaits_plan(status_of(plan=kept))


@pytest.mark.parametrize("plan", [None, PLAN, PLAN.model_copy(update={"hyperparameters": {}})])
def test_a_plan_without_hyperparameters_is_a_plan(plan: object) -> None:
    assert not awaits_plan(status_of(plan=plan))


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (3, "3"), (5e-05, "5e-05"), (0.1 + 0.2, "0.30000000000000004"), ("x", "x")],
)
def test_values_are_shown_exactly(value: Scalar, text: str) -> None:
    assert scalar_string(value) == text


def test_a_version_with_other_defaults_changes_nothing_of_a_rerun_that_has_begun() -> None:
    run = run_of(workload="market-classifier", data={"source": "pvc://data/bars.csv"}, hyperparameters={})
    planned = first_plan(run, generation=1)
    older = planned.model_copy(update={"base_hyperparameters": planned.base_hyperparameters | {"dropout": 0.123}})
    assert build_plan(run, status_of(plan=older)).hyperparameters["dropout"] == 0.123
    assert build_plan(run, status_of(plan=planned)).hyperparameters == planned.base_hyperparameters
