"""Suspension, withdrawn and vanished launches, conflicts, deletion: what happens next to a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.runs import (
    PLAN,
    T0,
    at,
    conditions_of,
    decision_of,
    job_of,
    launch_open,
    look,
    message_of,
    run_of,
    states,
    status_of,
    trainer_of,
    verdict_of,
)
from trainmaster.api.conditions import DecisionKind, DecisionState, Outcome, Phase, Reason
from trainmaster.api.trainingrun import Decision
from trainmaster.core.run.decide import CONFLICT_SECONDS
from trainmaster.core.snapshot import ObservedJob, Owner, Refusal, TrainerState

LAUNCH = DecisionKind.LAUNCH
END = DecisionKind.END_LAUNCH
CLEAN_UP = DecisionKind.CLEAN_UP
RECORD = DecisionKind.RECORD
OPEN = DecisionState.RECORDED
DONE = DecisionState.DONE
VOID = DecisionState.VOID
COMPLETED = message_of(verdict_of(Outcome.COMPLETED))
RETRY = message_of(verdict_of(Outcome.RETRY))

# -- suspension -------------------------------------------------------------------------------------------------------


def test_a_run_that_is_suspended_from_the_start_waits() -> None:
    status = look(run_of(suspend=True)).status
    assert (status.phase, status.launch, status.decisions) == (Phase.SUSPENDED, 0, ())


@pytest.mark.parametrize("owner", [Owner(uid="s", suspended=True), Owner(uid="s", deleting=True)])
def test_a_run_waits_with_its_owner(owner: Owner) -> None:
    waiting = look(run_of(), owner=owner).status
    assert (waiting.phase, conditions_of(waiting)["Suspended"]) == (Phase.SUSPENDED, "True")

    ordered = look(run_of(status=status_of()), job_of(), owner=owner).status
    assert [(d.kind, d.reason) for d in ordered.decisions] == [(END, Reason.OWNER_SUSPENDED)]


def test_suspend_ends_the_launch_and_resume_is_a_new_one_of_the_same_plan() -> None:
    ordered = look(run_of(status=status_of(), suspend=True), job_of(), now=at(100)).status
    assert states(ordered) == [(END, 1, OPEN)]
    again = look(run_of(status=ordered, suspend=True), job_of(deleting=True), now=at(101)).status
    assert states(again) == [(END, 1, OPEN)]

    suspended = look(run_of(status=again, suspend=True), now=at(110)).status
    assert (suspended.phase, suspended.launch_outcome, states(suspended)) == (
        Phase.SUSPENDED,
        Reason.SUSPEND_REQUESTED,
        [(END, 1, DONE)],
    )
    assert (suspended.crashes, suspended.disruptions) == (0, 0)

    resumed = look(run_of(status=suspended), now=at(500)).status
    assert (resumed.launch, resumed.decisions[-1].reason, resumed.plan) == (2, Reason.RESUMED, PLAN)


@pytest.mark.parametrize("ended", [job_of("Failed", exit_code=75, message=RETRY), job_of("Failed", exit_code=137)])
def test_a_launch_that_we_ended_is_charged_to_nobody(ended: ObservedJob) -> None:
    end = decision_of(END, reason=Reason.SUSPEND_REQUESTED)
    status = look(run_of(status=status_of(decisions=(end,)), suspend=True), ended).status
    assert (status.crashes, status.disruptions, status.launch_outcome) == (0, 0, Reason.SUSPEND_REQUESTED)


def test_a_verdict_wins_over_the_end_that_came_too_late() -> None:
    end = decision_of(END, reason=Reason.SUSPEND_REQUESTED)
    run = run_of(status=status_of(decisions=(end,)), suspend=True)
    status = look(run, job_of("Complete", message=COMPLETED)).status
    assert (status.phase, status.launch_outcome, states(status)) == (
        Phase.SUCCEEDED,
        Outcome.COMPLETED,
        [(END, 1, DONE), (RECORD, 1, OPEN)],
    )


def test_a_verdict_wins_over_a_deadline_too() -> None:
    end = decision_of(END, reason=Reason.ACTIVE_DEADLINE_EXCEEDED)
    run = run_of(status=status_of(decisions=(end,)), activeDeadlineSeconds=1)
    assert look(run, job_of("Complete", message=COMPLETED)).status.phase == Phase.SUCCEEDED


def test_a_launch_that_has_ended_needs_no_order_and_its_crash_is_charged_when_its_pods_are_gone() -> None:
    dying = job_of("Failed", exit_code=137, live_pods=1)
    waiting = look(run_of(status=status_of(), suspend=True), dying).status
    assert (waiting.decisions, waiting.crashes) == ((), 0)
    ended = look(run_of(status=waiting, suspend=True), job_of("Failed", exit_code=137)).status
    assert (ended.phase, ended.crashes, ended.decisions) == (Phase.SUSPENDED, 1, ())


def test_an_end_is_decided_on_a_live_look_only() -> None:
    result = look(run_of(status=status_of(), suspend=True), job_of(), live=False)
    assert (result.status.decisions, result.look_live) == ((), True)


# -- a launch whose Job nobody has seen -------------------------------------------------------------------------------


def test_a_launch_without_a_job_is_withdrawn_when_the_run_is_suspended() -> None:
    run = run_of(status=status_of(decisions=(launch_open(),)), suspend=True)
    result = look(run)
    assert (result.effects, states(result.status)) == ((), [(LAUNCH, 1, VOID)])
    assert (result.status.phase, result.status.launch_outcome) == (Phase.SUSPENDED, Reason.SUSPEND_REQUESTED)

    resumed = look(run_of(status=result.status)).status
    assert (resumed.launch, resumed.decisions[-1].reason) == (2, Reason.RESUMED)


def test_only_the_server_can_say_that_there_is_no_job() -> None:
    run = run_of(status=status_of(decisions=(launch_open(),)), suspend=True)
    result = look(run, live=False)
    assert (result.look_live, states(result.status)) == (True, [(LAUNCH, 1, OPEN)])

    found = look(run, job_of()).status
    assert states(found) == [(LAUNCH, 1, DONE), (END, 1, OPEN)]


def test_a_withdrawn_launch_whose_job_appears_after_all_is_ended() -> None:
    withdrawn = look(run_of(status=status_of(decisions=(launch_open(),)), suspend=True)).status
    status = look(run_of(status=withdrawn, suspend=True), job_of()).status
    assert [(d.kind, d.reason) for d in status.decisions][-1] == (END, Reason.SUPERSEDED)


@pytest.mark.parametrize("trace", [{"stray_pods": frozenset({1})}, {"trainer": trainer_of()}], ids=["pods", "reports"])
def test_pods_and_reports_prove_that_a_launch_was_opened(trace: dict[str, Any]) -> None:
    """Its Job came and went between two looks: creating it again would put two pod sets into one folder."""
    result = look(run_of(status=status_of(decisions=(launch_open(),))), **trace)
    assert result.effects == ()
    assert states(result.status)[0] == (LAUNCH, 1, DONE)


def test_a_launch_whose_job_left_no_trace_is_created_again() -> None:
    assert len(look(run_of(status=status_of(decisions=(launch_open(),)))).effects) == 1


# -- a launch that vanished -------------------------------------------------------------------------------------------


def test_a_job_that_a_cache_does_not_show_may_be_there() -> None:
    result = look(run_of(status=status_of()), live=False)
    assert (result.look_live, result.status.launch_outcome) == (True, None)


def test_a_job_that_somebody_deleted_is_a_disruption_once_its_pods_have_ended() -> None:
    waiting = look(run_of(status=status_of()), stray_pods=frozenset({1})).status
    assert (waiting.launch_outcome, waiting.conditions[0].reason) == (None, Reason.WAITING_FOR_PODS)

    status = look(run_of(status=waiting)).status
    assert (status.disruptions, status.crashes, status.launch) == (1, 0, 2)


def test_a_verdict_by_report_counts_after_the_job_vanished() -> None:
    done = trainer_of(verdict=verdict_of(Outcome.COMPLETED))
    assert look(run_of(status=status_of()), trainer=done).status.phase == Phase.SUCCEEDED


@pytest.mark.parametrize("phase", [Phase.UNKNOWN, Phase.FAILED])
def test_a_verdict_that_comes_after_the_end_re_opens_nothing(phase: str) -> None:
    status = status_of(phase=phase, launch_outcome="VerdictMissing", completion_time=T0)
    done = trainer_of(verdict=verdict_of(Outcome.COMPLETED))
    after = look(run_of(status=status), job_of("Complete"), trainer=done).status
    assert (after.phase, after.launch_outcome, after.completion_time) == (phase, "VerdictMissing", T0)


def test_a_verdict_that_comes_after_a_launch_was_given_up_ends_the_next_one_only_by_its_own() -> None:
    """The old launcher's word is late: the run goes on, and the next launch finds the finished checkpoint."""
    over = status_of(launch_outcome=Reason.DISRUPTED, disruptions=1)
    late = trainer_of(verdict=verdict_of(Outcome.COMPLETED))
    status = look(run_of(status=over), trainer=late).status
    assert (status.launch, status.launch_outcome) == (2, None)
    again = look(run_of(status=status), job_of(launch=2), trainer=late).status
    assert again.phase == Phase.RUNNING


def test_a_completed_job_without_a_verdict_is_unknown_never_a_success() -> None:
    status = look(run_of(status=status_of()), job_of("Complete")).status
    assert (status.phase, conditions_of(status)["Succeeded"]) == (Phase.UNKNOWN, "Unknown")
    assert "but no verdict arrived: neither" in status.conditions[0].message


def test_a_verdict_that_cannot_be_read_is_unknown_too_and_says_what_is_wrong_with_it() -> None:
    job = job_of("Complete", unreadable="lastSeq: is required")
    status = look(run_of(status=status_of()), job).status
    assert status.phase == Phase.UNKNOWN
    assert "but an unreadable one arrived: lastSeq: is required: neither" in status.conditions[0].message


@pytest.mark.parametrize(
    ("outcome", "trainer", "said"),
    [
        (Outcome.COMPLETED, None, "completed at step 1"),
        (Outcome.COMPLETED, trainer_of(step=99), "completed: 100 of 100 steps"),
        (Outcome.COMPLETED, trainer_of(epoch=14, total_epochs=15), "completed: 15 of 15 epochs, 100 of 100 steps"),
        (Outcome.STOPPED_EARLY, trainer_of(epoch=4, total_epochs=15), "stopped early: 4 of 15 epochs, 10 of 100 steps"),
    ],
)
def test_a_success_without_words_says_how_far_it_came(*, outcome: str, trainer: TrainerState | None, said: str) -> None:
    verdict = verdict_of(outcome, message="")
    told = replace(trainer, verdict=verdict) if trainer is not None else None
    job = job_of("Complete", message=message_of(verdict))
    result = look(run_of(status=status_of()), job, trainer=told)

    assert {c.message for c in result.status.conditions} == {said}
    assert result.events[-1].message == said


@pytest.mark.parametrize(
    ("spec", "owner", "said"),
    [
        ({"suspend": True}, None, "suspended by spec.suspend; false resumes it"),
        ({}, Owner(uid="study", suspended=True), "suspended with its owner"),
    ],
)
def test_a_suspended_run_says_by_whom(*, spec: dict[str, Any], owner: Owner | None, said: str) -> None:
    result = look(run_of(**spec), owner=owner)

    assert {c.message for c in result.status.conditions} == {said}
    assert [event.message for event in result.events] == [said]


# -- names and deletion -----------------------------------------------------------------------------------------------


def test_a_job_of_another_owner_in_the_way_is_a_conflict_and_is_left_alone() -> None:
    foreign = job_of("Complete", run_uid="other", message=COMPLETED)
    run = run_of(status=status_of(decisions=(launch_open(),)))
    result = look(run, foreign)
    assert result.effects == ()
    assert {c.reason for c in result.status.conditions} == {Reason.NAME_CONFLICT}
    assert (conditions_of(result.status)["Stalled"], states(result.status)) == ("True", [(LAUNCH, 1, OPEN)])
    assert result.status.launch_outcome is None, "its verdict is not ours"
    (event,) = result.events
    assert (event.type, event.reason) == ("Warning", Reason.NAME_CONFLICT)
    assert f"{foreign.name}: rename the run, or delete that Job" in event.message
    assert result.wake_at == at(CONFLICT_SECONDS), "no watch tells when it is gone"
    again = look(run_of(status=result.status), foreign, now=at(CONFLICT_SECONDS))
    assert (again.events, again.status) == ((), result.status), "told once, and written once"

    assert len(look(run_of(status=result.status)).effects) == 1, "the way is free again"


def test_a_conflict_does_not_keep_a_run_from_being_suspended() -> None:
    run = run_of(status=status_of(decisions=(launch_open(),)), suspend=True)
    assert look(run, job_of(run_uid="other")).status.phase == Phase.SUSPENDED


def test_the_launch_numbers_of_others_are_not_ours() -> None:
    foreign = job_of(launch=9, run_uid="other")
    status = look(run_of(status=status_of()), job_of(), foreign).status
    assert (status.launch, status.phase) == (1, Phase.RUNNING)


@pytest.mark.parametrize("decisions", [(), (launch_open(),), (decision_of(END),), (decision_of(CLEAN_UP),)])
def test_a_run_that_is_being_deleted_is_left_to_the_garbage_collector(decisions: tuple[Decision, ...]) -> None:
    meta = {"deletionTimestamp": "2026-03-01T12:00:00Z"}
    run = run_of(status=status_of(decisions=decisions), meta=meta, rerun="again", suspend=True)
    for jobs in ((), (job_of(),), (job_of("Failed"),)):
        result = look(run, *jobs)
        assert (result.status, result.effects, result.events) == (run.status, (), ())
        assert (result.wake_at, result.look_live) == (None, False)


# -- refused effects --------------------------------------------------------------------------------------------------


def test_a_launch_whose_job_is_refused_says_so_and_keeps_its_decision() -> None:
    refusal = Refusal(name=job_of(launch=1).name, message="exceeded quota: two")
    before = status_of(decisions=(launch_open(),))
    result = look(run_of(status=before), refusals=(refusal,))
    assert (result.status.phase, conditions_of(result.status)["Stalled"]) == (Phase.PENDING, "True")
    assert {(c.reason, c.message) for c in result.status.conditions} == {(Reason.JOB_REFUSED, "exceeded quota: two")}
    assert states(result.status) == [(LAUNCH, 1, OPEN)]
    assert [effect.name for effect in result.effects] == [refusal.name]
    assert [(event.type, event.message) for event in result.events] == [("Warning", "exceeded quota: two")]
    assert look(run_of(status=result.status), refusals=(refusal,)).events == ()


@pytest.mark.parametrize("name", [job_of(launch=2).name, "another"])
def test_what_was_refused_of_another_launch_says_nothing_of_this_one(name: str) -> None:
    refusal = Refusal(name=name, message="no")
    status = look(run_of(status=status_of(decisions=(launch_open(),))), refusals=(refusal,)).status
    assert conditions_of(status).get("Stalled") is None


def test_an_older_job_that_may_not_be_deleted_is_named_while_it_is_waited_for() -> None:
    stray = job_of(launch=1)
    before = status_of(
        launch=2, launch_outcome=Reason.DISRUPTED, decisions=(decision_of(END, launch=1, reason=Reason.SUPERSEDED),)
    )
    status = look(run_of(status=before), stray, refusals=(Refusal(name=stray.name, message="no right"),)).status
    assert (status.phase, status.launch) == (Phase.PENDING, 2)
    assert {(c.reason, c.message) for c in status.conditions} == {(Reason.JOB_REFUSED, "no right")}


def test_a_finished_run_keeps_its_verdict_though_its_jobs_may_not_be_deleted() -> None:
    job = job_of("Complete", message=COMPLETED)
    status = look(run_of(status=status_of()), job).status
    refusal = Refusal(name=job.name, message="no right")
    again = look(run_of(status=status, ttl_seconds_after_finished=1), job, now=at(100), refusals=(refusal,)).status
    assert (again.phase, conditions_of(again)["Succeeded"]) == (Phase.SUCCEEDED, "True")
    assert Reason.JOB_REFUSED not in {c.reason for c in again.conditions}
