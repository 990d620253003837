"""Which changes of status are written at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trainmaster.api.conditions import Condition, DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.trainingrun import Decision, Progress, TrainingRunStatus
from trainmaster.core.run.changes import QUIET_WRITE_SECONDS, write_due

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LAST = NOW - timedelta(seconds=1)
QUIET = LAST + timedelta(seconds=QUIET_WRITE_SECONDS)
LAUNCH = Decision(
    id="Launch-1",
    kind=DecisionKind.LAUNCH,
    reason=Reason.FIRST_LAUNCH,
    state=DecisionState.RECORDED,
    time=NOW,
    launch=1,
)
STATUS = TrainingRunStatus(phase=Phase.PENDING, launch=1, decisions=(LAUNCH,))


def state(word: str, **changes: object) -> tuple[Decision, ...]:
    return (LAUNCH.model_copy(update={"state": word} | changes),)


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, None),
        ({"progress": Progress(step=1)}, QUIET),
        ({"progress": Progress(step=1), "metrics": {"loss": "1"}}, QUIET),
        ({"phase": Phase.RUNNING}, NOW),
        ({"phase": Phase.RUNNING, "decisions": state(DecisionState.DONE)}, NOW),
        ({"decisions": state(DecisionState.DONE)}, NOW),
        ({"decisions": state(DecisionState.DONE), "progress": Progress(step=1)}, NOW),
        ({"decisions": state(DecisionState.VOID)}, NOW),
        ({"decisions": state(DecisionState.DONE, applied_step=7)}, NOW),
        ({"decisions": (LAUNCH, LAUNCH.model_copy(update={"id": "EndLaunch-1"}))}, NOW),
        ({"decisions": ()}, NOW),
    ],
)
def test_a_change_is_written_when_it_is_due(changes: dict[str, object], due: datetime | None) -> None:
    assert write_due(STATUS, STATUS.model_copy(update=changes), last_write=LAST, now=NOW) == due


def condition(reason: str, message: str) -> Condition:
    return Condition(type="Ready", status="False", reason=reason, message=message, last_transition_time=NOW)


def test_other_words_for_the_same_reason_can_wait() -> None:
    """A scheduler that counts nodes in its message changes it with every node that comes."""
    before = STATUS.model_copy(update={"conditions": (condition("Unschedulable", "0/9 nodes are available"),)})
    words = before.model_copy(update={"conditions": (condition("Unschedulable", "0/10 nodes are available"),)})
    reason = before.model_copy(update={"conditions": (condition("Starting", "0/9 nodes are available"),)})

    assert write_due(before, words, last_write=LAST, now=NOW) == QUIET
    assert write_due(before, reason, last_write=LAST, now=NOW) == NOW


def test_what_was_due_before_is_due_now() -> None:
    after = STATUS.model_copy(update={"progress": Progress(step=1)})
    assert write_due(STATUS, after, last_write=NOW - timedelta(hours=1), now=NOW) == NOW


def test_a_new_process_writes_at_once() -> None:
    after = STATUS.model_copy(update={"progress": Progress(step=1)})
    assert write_due(STATUS, after, last_write=None, now=NOW) == NOW


def test_a_field_of_a_newer_version_counts() -> None:
    before, after = (TrainingRunStatus.model_validate({"quota": number}) for number in (1, 2))
    assert write_due(before, after, last_write=LAST, now=NOW) == NOW
