from __future__ import annotations

from datetime import datetime

import pytest

from tests.support.runs import at, job_of, launch_open, look, message_of, run_of, status_of, verdict_of
from trainmaster.api.conditions import Outcome, Phase, Reason
from trainmaster.core.run.deadlines import (
    BACKOFF_FIRST_SECONDS,
    BACKOFF_MAX_SECONDS,
    FREE_QUICK_ENDS,
    QUICK_END_SECONDS,
    backs_off,
    exceeded,
    expiry,
    is_quick,
    next_deadline,
    not_before,
    seconds_between,
)

ACTIVE, SCHEDULING = Reason.ACTIVE_DEADLINE_EXCEEDED, Reason.SCHEDULING_DEADLINE_EXCEEDED
RUN = run_of(activeDeadlineSeconds=100, schedulingDeadlineSeconds=30)

TABLE = [
    # fields of status -> due, reason
    ({"running_time": at(10)}, at(110), ACTIVE),
    ({"running_time": at(10), "active_seconds": 60}, at(50), ACTIVE),
    ({"running_time": at(10), "active_seconds": 160}, at(-50), ACTIVE),
    ({"running_time": at(10), "queued_seconds": 500}, at(110), ACTIVE),
    ({"active_seconds": 60}, at(30), SCHEDULING),
    ({"queued_seconds": 500}, at(530), SCHEDULING),
]


@pytest.mark.parametrize(("fields", "due", "reason"), TABLE)
def test_active_time_adds_up_and_time_in_a_queue_counts_in_no_deadline(
    fields: dict[str, object], due: datetime, reason: str
) -> None:
    assert next_deadline(RUN, status_of(**fields)) == (due, reason)


def test_no_deadline_falls_while_the_launch_is_queued() -> None:
    assert next_deadline(RUN, status_of(queued_since=at(5))) is None


@pytest.mark.parametrize("fields", [{}, {"running_time": at(0)}])
def test_there_is_no_deadline_that_nobody_asked_for(fields: dict[str, object]) -> None:
    assert next_deadline(run_of(), status_of(**fields)) is None


@pytest.mark.parametrize(("seconds", "reason"), [(99, None), (100, ACTIVE), (10**9, ACTIVE), (-(10**6), None)])
def test_a_deadline_is_exceeded_from_its_moment_on(seconds: int, reason: str | None) -> None:
    assert exceeded(RUN, status_of(running_time=at(0)), at(seconds)) == reason


@pytest.mark.parametrize(("start", "end", "seconds"), [(0, 10.9, 10), (0, 0, 0), (10, 0, 0)])
def test_a_clock_that_goes_back_takes_no_time_away(start: float, end: float, seconds: int) -> None:
    assert seconds_between(at(start), at(end)) == seconds


def test_what_never_began_took_no_time() -> None:
    assert seconds_between(None, at(5)) == 0


def test_active_time_is_that_of_all_launches() -> None:
    """100 s of running in two launches of 60 s, with an hour of waiting between them, are over in the second one."""
    retry = message_of(verdict_of(Outcome.RETRY))
    status = status_of(running_time=at(0), start_time=at(0))
    status = look(RUN.model_copy(update={"status": status}), job_of("Failed", message=retry), now=at(60)).status
    assert (status.active_seconds, status.launch) == (60, 2)

    second = job_of("Running", launch=2, running_since=at(3600))
    status = look(RUN.model_copy(update={"status": status}), second, now=at(3639)).status
    assert [d for d in status.decisions if d.kind == "EndLaunch"] == []
    status = look(RUN.model_copy(update={"status": status}), second, now=at(3640)).status
    assert [d.reason for d in status.decisions if d.kind == "EndLaunch"] == [ACTIVE]


def test_active_time_ends_when_the_job_did_not_when_it_was_seen() -> None:
    retry = message_of(verdict_of(Outcome.RETRY))
    job = job_of("Failed", message=retry, ended_at=at(50))
    assert look(run_of(status=status_of(running_time=at(0))), job, now=at(90_000)).status.active_seconds == 50


def test_a_launch_that_is_queued_again_stops_the_clock() -> None:
    run = run_of(status=status_of(running_time=at(0), start_time=at(0)), schedulingDeadlineSeconds=30)
    status = look(run, job_of("Suspended", running_since=None), now=at(40)).status
    assert (status.active_seconds, status.running_time, status.phase) == (40, None, Phase.QUEUED)

    run = run.model_copy(update={"status": status})
    status = look(run, job_of("Pending", running_since=None), now=at(1000)).status
    assert next_deadline(run, status) == (at(1000 + 30), SCHEDULING), "it waits for a pod from now on"

    run = run.model_copy(update={"status": status})
    status = look(run, job_of("Running", running_since=at(1010)), now=at(1020)).status
    assert (status.active_seconds, status.running_time, status.start_time) == (40, at(1010), at(0))


def test_a_launch_is_ended_at_its_scheduling_deadline_and_the_run_fails() -> None:
    run = run_of(status=status_of(), schedulingDeadlineSeconds=30)
    status = look(run, job_of("Pending", running_since=None), now=at(30)).status
    assert [d.reason for d in status.decisions] == [SCHEDULING]

    finished = look(run.model_copy(update={"status": status}), now=at(40)).status
    assert (finished.phase, finished.launch_outcome) == (Phase.FAILED, SCHEDULING)


def test_a_launch_whose_job_never_comes_fails_at_the_scheduling_deadline() -> None:
    run = run_of(status=status_of(decisions=(launch_open(),)), schedulingDeadlineSeconds=30)
    result = look(run, now=at(31))
    assert (result.status.phase, result.status.launch_outcome) == (Phase.FAILED, SCHEDULING)
    assert result.effects == ()


# -- back-off ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quick_ends", "seconds"),
    [
        (0, None),
        (FREE_QUICK_ENDS, None),
        (FREE_QUICK_ENDS + 1, BACKOFF_FIRST_SECONDS),
        (FREE_QUICK_ENDS + 2, 2 * BACKOFF_FIRST_SECONDS),
        (FREE_QUICK_ENDS + 5, 16 * BACKOFF_FIRST_SECONDS),
        (FREE_QUICK_ENDS + 6, BACKOFF_MAX_SECONDS),
        (10**6, BACKOFF_MAX_SECONDS),
    ],
)
def test_back_off_doubles_up_to_a_limit(quick_ends: int, seconds: int | None) -> None:
    status = status_of(quick_ends=quick_ends, launch_end_time=at(0))
    assert not_before(status) == (at(seconds) if seconds is not None else None)


@pytest.mark.parametrize(("now", "waits"), [(0, True), (9, True), (10, False), (-86_400, False)])
def test_the_next_launch_waits_for_its_turn_but_not_for_a_clock_that_went_back(*, now: int, waits: bool) -> None:
    status = status_of(quick_ends=FREE_QUICK_ENDS + 1, launch_end_time=at(0))
    assert backs_off(status, at(now)) is waits


@pytest.mark.parametrize(
    ("running", "end", "quick"),
    [
        (None, 1000, True),
        (at(0), QUICK_END_SECONDS - 1, True),
        (at(0), QUICK_END_SECONDS, False),
        (at(500), 0, True),
    ],
)
def test_a_launch_that_ran_for_less_than_a_minute_ended_quickly(
    *, running: datetime | None, end: int, quick: bool
) -> None:
    assert is_quick(status_of(running_time=running), at(end)) is quick


def test_quick_ends_in_a_row_lead_to_a_pause_and_a_long_one_ends_the_row() -> None:
    run = run_of(status=status_of(quick_ends=FREE_QUICK_ENDS))
    result = look(run, job_of("Failed", exit_code=75, running_since=at(0)), now=at(5))
    assert (result.status.quick_ends, result.status.launch) == (FREE_QUICK_ENDS + 1, 1)
    assert (result.status.phase, result.status.conditions[0].reason) == (Phase.PENDING, Reason.BACK_OFF)
    assert result.wake_at == at(5 + BACKOFF_FIRST_SECONDS)

    result = look(run.model_copy(update={"status": result.status}), now=at(15))
    assert result.status.launch == 2

    healthy = look(run, job_of("Failed", exit_code=75, running_since=at(0)), now=at(QUICK_END_SECONDS))
    assert (healthy.status.quick_ends, healthy.status.launch) == (0, 2)


def test_an_end_that_was_ordered_is_not_quick() -> None:
    run = run_of(status=status_of(quick_ends=FREE_QUICK_ENDS), suspend=True)
    ordered = look(run, job_of(), now=at(1)).status
    ended = look(run.model_copy(update={"status": ordered}), now=at(2)).status
    assert (ended.quick_ends, ended.phase) == (0, Phase.SUSPENDED)


# -- time to live -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "completed", "due"), [(None, at(0), None), (60, None, None), (60, at(5), at(65))])
def test_what_a_finished_run_left_expires(ttl: int | None, completed: datetime | None, due: datetime | None) -> None:
    assert expiry(run_of(ttlSecondsAfterFinished=ttl), status_of(completion_time=completed)) == due
