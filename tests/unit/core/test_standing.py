"""The condition table of the fault catalogue (4.2), and what kstatus makes of it."""

from __future__ import annotations

import pytest

from tests.support.kstatus import kstatus
from tests.support.runs import T0, at, conditions_of, run_of, status_of
from trainmaster.api.conditions import Condition, Phase, Reason
from trainmaster.api.trainingrun import TrainingRunStatus
from trainmaster.core.run.standing import MESSAGE_MAX, Standing, terminal_standing, with_standing

NEW = status_of()
STARTED = status_of(start_time=T0)
QUEUED_BEFORE = status_of(queued_seconds=30)
BEGINNING = {"Ready": "False", "Reconciling": "True", "Succeeded": "Unknown"}
GOING_ON = {"Ready": "True", "Succeeded": "Unknown"}

TABLE = [
    # phase, reason, status before -> conditions, kstatus
    (Phase.PENDING, Reason.STARTING, NEW, BEGINNING, "InProgress"),
    (Phase.PENDING, Reason.BACK_OFF, NEW, BEGINNING, "InProgress"),
    (Phase.PENDING, Reason.WAITING_FOR_PODS, NEW, BEGINNING, "InProgress"),
    (Phase.PENDING, Reason.STARTING, STARTED, GOING_ON, "Current"),
    (Phase.PENDING, Reason.BACK_OFF, STARTED, GOING_ON, "Current"),
    (Phase.PENDING, Reason.STARTING, QUEUED_BEFORE, GOING_ON, "Current"),
    (Phase.QUEUED, Reason.JOB_QUEUED, NEW, GOING_ON, "Current"),
    (Phase.RUNNING, Reason.RUNNING, STARTED, GOING_ON, "Current"),
    (Phase.RUNNING, Reason.SUSPEND_REQUESTED, STARTED, GOING_ON, "Current"),
    (Phase.SUSPENDED, Reason.SUSPENDED, STARTED, {**GOING_ON, "Suspended": "True"}, "Current"),
    (Phase.SUSPENDED, Reason.OWNER_SUSPENDED, NEW, {**GOING_ON, "Suspended": "True"}, "Current"),
    (Phase.SUCCEEDED, Reason.COMPLETED, STARTED, {"Ready": "True", "Succeeded": "True"}, "Current"),
    (Phase.SUCCEEDED, Reason.STOPPED_EARLY, STARTED, {"Ready": "True", "Succeeded": "True"}, "Current"),
    (
        Phase.FAILED,
        Reason.CRASH_BUDGET_EXHAUSTED,
        STARTED,
        {"Ready": "False", "Stalled": "True", "Succeeded": "False"},
        "Failed",
    ),
    (
        Phase.UNKNOWN,
        Reason.VERDICT_MISSING,
        STARTED,
        {"Ready": "False", "Stalled": "True", "Succeeded": "Unknown"},
        "Failed",
    ),
    (
        Phase.PENDING,
        Reason.NAME_CONFLICT,
        NEW,
        {"Ready": "False", "Stalled": "True", "Succeeded": "Unknown"},
        "Failed",
    ),
    (
        Phase.PENDING,
        Reason.NAME_CONFLICT,
        STARTED,
        {"Ready": "False", "Stalled": "True", "Succeeded": "Unknown"},
        "Failed",
    ),
    (
        Phase.PENDING,
        Reason.JOB_REFUSED,
        NEW,
        {"Ready": "False", "Stalled": "True", "Succeeded": "Unknown"},
        "Failed",
    ),
    (
        Phase.PENDING,
        Reason.JOB_REFUSED,
        STARTED,
        {"Ready": "False", "Stalled": "True", "Succeeded": "Unknown"},
        "Failed",
    ),
    (
        Phase.RUNNING,
        Reason.JOB_REFUSED,
        STARTED,
        {"Ready": "False", "Stalled": "True", "Succeeded": "Unknown"},
        "Failed",
    ),
]


@pytest.mark.parametrize(("phase", "reason", "before", "expected", "judged"), TABLE)
def test_conditions_say_where_the_run_stands(
    *, phase: str, reason: str, before: TrainingRunStatus, expected: dict[str, str], judged: str
) -> None:
    status = with_standing(before, Standing(phase=phase, reason=reason), generation=4, now=T0)

    assert conditions_of(status) == expected
    assert status.phase == phase
    assert {c.reason for c in status.conditions} == {reason}
    assert {c.observed_generation for c in status.conditions} == {4} == {status.observed_generation}
    assert kstatus(run_of(status=status, meta={"generation": 4}).to_wire()) == judged


def test_a_run_that_nobody_has_seen_is_in_progress() -> None:
    assert TrainingRunStatus().observed_generation == -1
    assert kstatus(run_of().to_wire()) == "InProgress"


def test_a_changed_spec_is_in_progress_until_it_is_seen() -> None:
    status = with_standing(STARTED, Standing(phase=Phase.RUNNING, reason=Reason.RUNNING), generation=1, now=T0)
    assert kstatus(run_of(status=status, meta={"generation": 2}).to_wire()) == "InProgress"


def test_a_run_that_is_being_deleted_is_terminating() -> None:
    assert kstatus(run_of(status=STARTED, meta={"deletionTimestamp": "2026-03-01T12:00:00Z"}).to_wire()) == (
        "Terminating"
    )


def test_the_time_of_a_condition_changes_with_its_status_only() -> None:
    status = with_standing(STARTED, Standing(phase=Phase.RUNNING, reason=Reason.RUNNING), generation=1, now=at(0))
    status = with_standing(status, Standing(phase=Phase.PENDING, reason=Reason.BACK_OFF), generation=2, now=at(5))
    status = with_standing(status, Standing(phase=Phase.FAILED, reason=Reason.CRASHED), generation=2, now=at(9))
    times = {c.type: c.last_transition_time for c in status.conditions}
    assert times == {"Ready": at(9), "Stalled": at(9), "Succeeded": at(9)}

    status = with_standing(status, Standing(phase=Phase.FAILED, reason=Reason.CRASHED), generation=3, now=at(20))
    assert {c.type: c.last_transition_time for c in status.conditions} == times


def test_conditions_of_others_stay_behind_ours() -> None:
    foreign = Condition(type="Foreseen", status="True", reason="Later", last_transition_time=T0)
    status = status_of(conditions=(foreign,))
    status = with_standing(status, Standing(phase=Phase.RUNNING, reason=Reason.RUNNING), generation=1, now=T0)
    assert status.conditions[-1] is foreign


def test_a_finished_run_keeps_reason_and_message() -> None:
    failed = Standing(phase=Phase.FAILED, reason=Reason.REPEATED_CRASH, message="twice at step 0")
    status = with_standing(STARTED, failed, generation=1, now=T0)
    assert terminal_standing(status) == failed


def test_a_finished_run_without_conditions_still_stands_somewhere() -> None:
    status = status_of(phase=Phase.UNKNOWN)
    assert terminal_standing(status) == Standing(phase=Phase.UNKNOWN, reason=Phase.UNKNOWN)


def test_a_message_of_any_length_fits_into_status() -> None:
    standing = Standing(phase=Phase.FAILED, reason=Reason.CRASHED, message="x" * 100_000)
    status = with_standing(STARTED, standing, generation=1, now=T0)
    assert {len(c.message) for c in status.conditions} == {MESSAGE_MAX}
