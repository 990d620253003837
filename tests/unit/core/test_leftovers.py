"""What is left over: finished Jobs, Jobs that nobody wants, and clusters that know more than status."""

from __future__ import annotations

import pytest

from tests.support.runs import T0, at, decision_of, job_of, look, run_of, states, status_of, trainer_of
from trainmaster.api.conditions import DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.trainingrun import TrainingRunStatus

END = DecisionKind.END_LAUNCH
CLEAN_UP = DecisionKind.CLEAN_UP
OPEN = DecisionState.RECORDED
DONE = DecisionState.DONE

FAILED = status_of(phase=Phase.FAILED, launch=3, launch_outcome=Reason.CRASHED, completion_time=T0)


# -- what is left over ------------------------------------------------------------------------------------------------


def test_a_finished_run_is_cleaned_up_at_its_time() -> None:
    run = run_of(status=FAILED, ttlSecondsAfterFinished=60)
    job = job_of("Failed", launch=3)
    assert look(run, job, now=at(59)).wake_at == at(60)
    assert look(run, job, now=at(60), live=False).look_live
    status = look(run, job, now=at(60)).status
    assert states(status) == [(CLEAN_UP, 3, OPEN)]

    after = look(run_of(status=status, ttlSecondsAfterFinished=60), now=at(61)).status
    assert (states(after), after.phase) == ([(CLEAN_UP, 3, DONE)], Phase.FAILED)
    assert look(run_of(status=after, ttlSecondsAfterFinished=60), now=at(99)).wake_at is None


@pytest.mark.parametrize(
    "status",
    [
        status_of(launch=2),
        status_of(launch=2, launch_outcome=Reason.DISRUPTED),
        status_of(launch=2, launch_outcome=Reason.SUSPEND_REQUESTED, phase=Phase.SUSPENDED),
        FAILED,
    ],
    ids=["another launch lives", "between launches", "suspended", "finished"],
)
def test_a_job_that_a_deposed_leader_made_is_ended(status: TrainingRunStatus) -> None:
    jobs = (job_of(launch=1), job_of(launch=status.launch)) if status.launch_outcome is None else (job_of(launch=1),)
    run = run_of(status=status, suspend=status.phase == Phase.SUSPENDED)
    assert look(run, *jobs, live=False).look_live
    decided = look(run, *jobs).status
    assert [(d.kind, d.launch, d.reason) for d in decided.decisions] == [(END, 1, Reason.SUPERSEDED)]
    assert decided.launch == status.launch
    effects = look(run_of(status=decided, suspend=run.spec.suspend), *jobs).effects
    assert [e.name for e in effects] == [job_of(launch=1).name]


def test_a_decision_to_end_settles_even_if_only_a_look_at_the_server_can_tell() -> None:
    end = decision_of(END, launch=1, reason=Reason.SUPERSEDED)
    run = run_of(status=status_of(launch=2, decisions=(end,)))
    assert look(run, job_of(launch=2), live=False).look_live
    assert states(look(run, job_of(launch=2)).status) == [(END, 1, DONE)]
    lingering = look(run, job_of(launch=2), stray_pods=frozenset({1}))
    assert states(lingering.status) == [(END, 1, OPEN)]


# -- status from a backup ---------------------------------------------------------------------------------------------


def test_launches_go_on_behind_the_newest_that_anything_shows() -> None:
    status = look(run_of(), job_of("Failed", launch=7, exit_code=75)).status
    assert (status.launch, status.decisions[-1].launch) == (8, 8)


def test_a_newer_launch_is_taken_up_with_counters_of_its_own() -> None:
    old = status_of(launch=2, launch_crashes=5, crashes=5, running_time=T0, queued_seconds=9)
    status = look(
        run_of(status=old), job_of(launch=4, running_since=at(50)), trainer=trainer_of(launch=4, crashes=1)
    ).status
    assert (status.launch, status.launch_crashes, status.crashes) == (4, 1, 6)
    assert (status.running_time, status.queued_seconds) == (at(50), 0)


def test_a_finished_run_is_not_taken_up_again() -> None:
    status = look(run_of(status=FAILED), job_of(launch=5)).status
    assert (status.phase, status.launch) == (Phase.FAILED, 5)
    assert states(status) == [(END, 5, OPEN)]


def test_generations_go_on_behind_the_newest_that_a_trainer_knows() -> None:
    status = look(run_of(status=status_of()), job_of(), trainer=trainer_of(generation=4)).status
    assert status.plan is not None
    assert (status.plan.generation, status.plan.base_generation) == (4, 1)

    lost = look(run_of(status=status_of(plan=None)), job_of("Failed", exit_code=75), trainer=trainer_of(generation=4))
    assert lost.status.plan is not None
    assert lost.status.plan.generation == 5
