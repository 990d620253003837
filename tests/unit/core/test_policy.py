from __future__ import annotations

import math

import pytest

from tests.support.runs import (
    PLAN,
    T0,
    at,
    decision_of,
    job_of,
    look,
    message_of,
    point_of,
    run_of,
    status_of,
    trainer_of,
    verdict_of,
)
from trainmaster.api.conditions import DecisionKind, DecisionState, Outcome, Phase, Reason
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus
from trainmaster.core.plan import build_plan
from trainmaster.core.recovery.policy import heal
from trainmaster.core.series import Point
from trainmaster.core.snapshot import ObservedJob

EXPLODED = (point_of(1, grad_norm=1.0), point_of(2, grad_norm=math.nan))


def healed(run: TrainingRun, status: TrainingRunStatus, *points: Point) -> TrainingRunStatus:
    return heal(run, status, points=points or EXPLODED, now=T0)


def test_a_correction_is_recorded_with_all_that_shows_why() -> None:
    status = healed(run_of(), status_of())
    decision = status.decisions[-1]
    assert (decision.kind, decision.state, decision.generation) == (DecisionKind.ADJUST, DecisionState.RECORDED, 2)
    assert (decision.reason, decision.observed_step, decision.time) == (Reason.GRADIENT_EXPLOSION, 2, T0)
    assert "nan at step 2" in decision.evidence
    assert decision.target == {"learning_rate": "0.0005"}
    assert status.heals == 1


def test_a_correction_opens_a_plan_and_an_attempt_of_the_same_number() -> None:
    status = healed(run_of(), status_of())
    assert status.plan is not None
    assert (status.plan.generation, status.plan.base_generation) == (2, 1)
    assert status.plan.hyperparameters == {"learning_rate": "0.0005", "epochs": "3"}
    assert [(d.id, d.generation, d.set) for d in status.plan.directives] == [
        (status.decisions[-1].id, 2, {"learning_rate": "0.0005"})
    ]
    attempt = status.attempts[-1]
    assert (attempt.number, attempt.cause) == (2, Reason.GRADIENT_EXPLOSION)
    assert attempt.corrections == ("learning_rate 0.001 -> 0.0005",)


def test_one_correction_is_in_flight_at_a_time() -> None:
    first = healed(run_of(), status_of())
    again = healed(run_of(), first, *EXPLODED, point_of(3, generation=2, grad_norm=math.inf))
    assert (again.heals, again.decisions, again.plan) == (first.heals, first.decisions, first.plan)
    assert again.health is not None
    assert "gradient-explosion (critical)" in again.health.problems[0]


def test_what_the_last_plan_did_is_not_held_against_the_new_one() -> None:
    status = status_of(plan=PLAN.model_copy(update={"generation": 2}))
    after = healed(run_of(), status, *EXPLODED, point_of(3, generation=2, grad_norm=1.0))
    assert after.decisions == ()


def test_a_trainer_that_replays_an_older_step_is_not_corrected_again() -> None:
    """Back on an older checkpoint, steps before the directive's are points of the old plan once more."""
    status = healed(run_of(), status_of())
    decision = status.decisions[-1]
    status = status.model_copy(
        update={"decisions": (decision.model_copy(update={"state": DecisionState.DONE, "applied_step": 3}),)}
    )
    replayed = (*EXPLODED, *EXPLODED, point_of(3, generation=2, grad_norm=2.0))
    assert healed(run_of(), status, *replayed).heals == 1


def test_the_budget_bounds_corrections() -> None:
    run = run_of(recovery={"budgets": {"heals": 2}})
    status = status_of(heals=2)
    assert healed(run, status).decisions == ()
    assert healed(run, status_of(heals=1)).heals == 2


def test_observe_records_once_per_plan_what_it_would_do() -> None:
    run = run_of(recovery={"mode": "Observe"})
    status = healed(run, status_of())
    assert [(d.kind, d.state, d.target) for d in status.decisions] == [
        (DecisionKind.ADJUST, DecisionState.OBSERVED, {"learning_rate": "0.0005"})
    ]
    assert (status.heals, status.plan, status.attempts) == (0, PLAN, ())
    assert healed(run, status) == status


def test_off_looks_for_nothing() -> None:
    status = status_of()
    assert healed(run_of(recovery={"mode": "Off"}), status) is status


def test_health_is_told_and_untold() -> None:
    status = healed(run_of(recovery={"mode": "Observe"}), status_of())
    assert status.health is not None
    assert len(status.health.problems) == 1
    calm = healed(run_of(), status, *(point_of(step, grad_norm=1.0) for step in range(3, 6)))
    assert calm.health is not None
    assert calm.health.problems == ()


@pytest.mark.parametrize("kind", ["test"])
def test_the_final_evaluation_is_not_judged(kind: str) -> None:
    assert healed(run_of(), status_of(), point_of(9, kind=kind, grad_norm=math.nan)).decisions == ()


@pytest.mark.parametrize(
    ("job", "run"),
    [
        (job_of("Pending", running_since=None), run_of(status=status_of())),
        (job_of("Suspended", running_since=None), run_of(status=status_of())),
        (job_of(), run_of(status=status_of(), suspend=True)),
        (job_of(), run_of(status=status_of(), rerun="again")),
    ],
    ids=["pending", "queued", "about to be suspended", "about to train again"],
)
def test_only_a_launch_that_runs_and_goes_on_is_corrected(job: ObservedJob, run: TrainingRun) -> None:
    assert look(run, job, points=EXPLODED).status.heals == 0


def test_a_running_launch_is_corrected_by_its_plan_not_by_an_effect() -> None:
    result = look(run_of(status=status_of()), job_of(), points=EXPLODED)
    assert result.status.heals == 1
    assert result.effects == ()


# -- the rest of a correction's life ----------------------------------------------------------------------------------


def adjusting() -> TrainingRun:
    return run_of(status=healed(run_of(), status_of()))


def test_a_correction_is_done_when_the_trainer_says_at_which_step() -> None:
    run = adjusting()
    name = run.status.decisions[-1].id
    status = look(run, job_of(), trainer=trainer_of(applied={name: 41})).status
    assert [(d.state, d.applied_step) for d in status.decisions] == [(DecisionState.DONE, 41)]
    assert status.plan is not None
    assert [d.at_step for d in status.plan.directives] == [41]


def test_an_open_correction_goes_on_to_the_next_launch() -> None:
    run = adjusting()
    retry = job_of("Failed", message=message_of(verdict_of(Outcome.RETRY)))
    status = look(run, retry, now=at(1)).status
    adjust, launch = status.decisions
    assert (adjust.state, launch.kind, launch.launch) == (DecisionState.RECORDED, DecisionKind.LAUNCH, 2)
    plan = build_plan(run, status)
    assert [(d.id, d.set) for d in plan.directives] == [(adjust.id, {"learning_rate": 0.0005})]
    assert (plan.generation, plan.base_generation) == (2, 1)

    again = run.model_copy(update={"status": status})
    status = look(again, job_of(launch=2), trainer=trainer_of(launch=2, applied={adjust.id: 5})).status
    assert status.decisions[0].state == DecisionState.DONE


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.STOPPED_EARLY])
def test_an_open_correction_is_void_when_the_run_finishes(outcome: str) -> None:
    status = look(adjusting(), job_of("Complete", message=message_of(verdict_of(outcome)))).status
    assert status.phase == Phase.SUCCEEDED
    assert [d.state for d in status.decisions if d.kind == DecisionKind.ADJUST] == [DecisionState.VOID]


def test_an_open_correction_is_void_in_the_next_rerun_and_does_not_block_its_own() -> None:
    run = adjusting()
    ordered = look(run.model_copy(update={"spec": run_of(rerun="again").spec}), job_of()).status
    run = run_of(status=ordered, rerun="again")
    status = look(run).status
    kinds = {d.kind: d.state for d in status.decisions}
    assert kinds[DecisionKind.ADJUST] == DecisionState.VOID
    assert (status.heals, status.launch) == (0, 2)

    run = run_of(status=status, rerun="again")
    generation = status.plan.generation if status.plan else 0
    status = look(run, job_of(launch=2), points=(point_of(1, generation=generation, grad_norm=math.inf),)).status
    assert status.heals == 1


def test_reports_of_an_older_launch_apply_nothing() -> None:
    run = run_of(status=adjusting().status.model_copy(update={"launch": 2}))
    name = run.status.decisions[-1].id
    status = look(run, job_of(launch=2), trainer=trainer_of(launch=1, applied={name: 3})).status
    assert status.decisions[-1].state == DecisionState.RECORDED


def test_a_decision_that_was_only_observed_is_not_applied() -> None:
    observed = decision_of(DecisionKind.ADJUST, state=DecisionState.OBSERVED)
    run = run_of(status=status_of(decisions=(observed,)))
    assert look(run, job_of(), trainer=trainer_of(applied={observed.id: 3})).status.decisions == (observed,)
