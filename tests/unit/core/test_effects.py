from __future__ import annotations

from itertools import product

import pytest

from tests.support.runs import T0, UID, at, decision_of, job_of, launch_open, look, record_of, run_of, status_of
from trainmaster.api.conditions import DecisionKind, DecisionState, Phase
from trainmaster.api.labels import job_name
from trainmaster.api.trainingrun import Decision
from trainmaster.core import Snapshot, decide
from trainmaster.core.snapshot import CreateJob, DeleteJob, ObservedJob, WriteRecord

END = decision_of(DecisionKind.END_LAUNCH)
CLEAN_UP = decision_of(DecisionKind.CLEAN_UP)
RECORD = decision_of(DecisionKind.RECORD, record=record_of())
FINISHED = {"phase": Phase.SUCCEEDED, "launch_outcome": "Completed", "completion_time": T0}


def test_the_first_pass_records_a_launch_and_the_second_creates_its_job() -> None:
    first = look(run_of())
    assert [(d.kind, d.launch, d.state) for d in first.status.decisions] == [(DecisionKind.LAUNCH, 1, "Recorded")]
    assert first.effects == ()

    second = look(run_of(status=first.status))
    (create,) = second.effects
    assert isinstance(create, CreateJob)
    assert (create.name, create.plan.launch) == (job_name("market", uid=UID, launch=1), 1)
    assert second.status == first.status, "nothing new is decided while it is not seen"


def test_a_job_that_is_there_is_not_created_again() -> None:
    result = look(run_of(status=status_of(decisions=(launch_open(),))), job_of("Pending", running_since=None))
    assert result.effects == ()
    assert [d.state for d in result.status.decisions] == [DecisionState.DONE]


def test_an_end_deletes_the_job_that_was_seen_by_its_uid_once() -> None:
    run = run_of(status=status_of(decisions=(END,)), suspend=True)
    assert look(run, job_of()).effects == (DeleteJob(name=job_of().name, uid="job-1"),)
    assert look(run, job_of(deleting=True)).effects == ()


def test_a_clean_up_deletes_what_its_run_left_and_nothing_newer() -> None:
    run = run_of(status=status_of(**FINISHED, launch=2, decisions=(CLEAN_UP,)), ttlSecondsAfterFinished=5)
    effects = look(run, job_of("Complete"), job_of("Complete", launch=2), now=at(60)).effects
    assert effects == (DeleteJob(name=job_of().name, uid="job-1"),)


@pytest.mark.parametrize("kind", [k.kind for k in (launch_open(), END, CLEAN_UP, RECORD)])
@pytest.mark.parametrize("state", [DecisionState.DONE, DecisionState.VOID, DecisionState.OBSERVED, "Acting"])
def test_only_open_decisions_have_effects(*, kind: str, state: str) -> None:
    status = status_of(decisions=(decision_of(kind, state=state, record=record_of()),))
    assert look(run_of(status=status), job_of()).effects == ()


def test_kinds_of_a_newer_version_have_no_effects() -> None:
    assert look(run_of(status=status_of(decisions=(decision_of("Teleport"),))), job_of()).effects == ()


@pytest.mark.parametrize("decision", [launch_open(), END, CLEAN_UP])
def test_a_cache_is_no_ground_to_act_on(decision: object) -> None:
    """The stale view may be of before the Job was created, ended and replaced."""
    status = status_of(decisions=(decision,))
    jobs = () if decision == launch_open() else (job_of(),)
    result = look(run_of(status=status, suspend=decision == END), *jobs, live=False)
    assert result.effects == ()
    assert result.look_live


@pytest.mark.parametrize(
    ("jobs", "stray_pods"),
    [((job_of(launch=1),), frozenset()), ((), frozenset({1})), ((job_of("Failed", live_pods=1),), frozenset())],
    ids=["a job", "pods without a job", "a failed job's pods"],
)
def test_no_job_is_created_beside_living_pods(*, jobs: tuple[ObservedJob, ...], stray_pods: frozenset[int]) -> None:
    run = run_of(status=status_of(launch=2, decisions=(launch_open(2),)))
    result = look(run, *jobs, stray_pods=stray_pods)
    assert not [e for e in result.effects if isinstance(e, CreateJob)]


def test_a_job_of_somebody_else_is_never_deleted() -> None:
    foreign = job_of(run_uid="other")
    for decision in (END, CLEAN_UP):
        assert look(run_of(status=status_of(decisions=(decision,))), foreign).effects == ()


def test_an_older_open_launch_is_void_once_a_newer_one_was_seen() -> None:
    """Status came back from a backup: launch 1 open in it, launch 2 alive in the cluster."""
    run = run_of(status=status_of(decisions=(launch_open(1),)))
    result = look(run, job_of(launch=2))
    assert result.effects == ()
    assert (result.status.launch, result.status.decisions[0].state) == (2, DecisionState.VOID)


PHASES = ["", Phase.PENDING, Phase.RUNNING, Phase.SUSPENDED, Phase.SUCCEEDED, Phase.FAILED]
OPEN = [(), (launch_open(),), (END,), (CLEAN_UP,), (launch_open(), END), (END, CLEAN_UP), (RECORD, END), (RECORD,)]
JOBS = [(), (job_of(),), (job_of("Complete"),), (job_of("Failed", exit_code=1),), (job_of(launch=2), job_of("Failed"))]


@pytest.mark.parametrize(("phase", "decisions", "jobs"), list(product(PHASES, OPEN, JOBS)))
def test_every_effect_has_its_decision_in_the_status_that_was_read(
    *, phase: str, decisions: tuple[Decision, ...], jobs: tuple[ObservedJob, ...]
) -> None:
    """For every combination, whether it can be reached or not, and for every wish of the user's."""
    outcomes = ["Completed"] if phase in Phase.TERMINAL else [None, "Disrupted"]
    for outcome, suspend, rerun, ttl in product(outcomes, [False, True], ["", "again"], [None, 0]):
        done = at(0) if phase in Phase.TERMINAL else None
        status = status_of(phase=phase, decisions=decisions, launch_outcome=outcome, completion_time=done)
        run = run_of(status=status, suspend=suspend, rerun=rerun, ttlSecondsAfterFinished=ttl)
        result = decide(Snapshot(run=run, jobs=jobs, live=True), at(100))
        for effect in result.effects:
            if isinstance(effect, CreateJob):
                assert launch_open(effect.plan.launch) in decisions
            elif isinstance(effect, WriteRecord):
                assert RECORD in decisions
            else:
                launch = next(job.launch for job in jobs if job.uid == effect.uid)
                assert {d.kind for d in decisions if d.launch >= launch} & {"EndLaunch", "CleanUp"}
