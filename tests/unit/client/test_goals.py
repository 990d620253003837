"""What `wait` waits for: a table of standings and verdicts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.runs import run_of, status_of
from trainmaster.api.conditions import Condition, ConditionStatus
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.client.goals import Goal, UnknownGoalError, Verdict, judge, parse_goal

T0 = datetime(2026, 3, 1, tzinfo=UTC)
MET, NOT_YET, NEVER = Verdict.MET, Verdict.NOT_YET, Verdict.NEVER


def condition(kind: str, status: ConditionStatus) -> Condition:
    return Condition(type=kind, status=status, reason="R", last_transition_time=T0)


def run_in(phase: str, *conditions: Condition, **spec: Any) -> TrainingRun:  # noqa: ANN401 - fields of spec
    return run_of(status=status_of(phase=phase, conditions=conditions), **spec)


NEW = run_of()
PENDING = run_in("Pending", condition("Succeeded", "Unknown"), condition("Ready", "False"))
RUNNING = run_in("Running", condition("Succeeded", "Unknown"), condition("Ready", "True"))
SUSPENDED = run_in("Suspended", condition("Succeeded", "Unknown"), condition("Suspended", "True"))
SUCCEEDED = run_in("Succeeded", condition("Succeeded", "True"), condition("Ready", "True"))
FAILED = run_in("Failed", condition("Succeeded", "False"), condition("Ready", "False"))
UNKNOWN = run_in("Unknown", condition("Succeeded", "Unknown"), condition("Stalled", "True"))


@pytest.mark.parametrize(
    ("goal", "verdicts"),
    [
        #                      new      pending  running  suspended succeeded failed unknown
        ("ended", (NOT_YET, NOT_YET, NOT_YET, NOT_YET, MET, MET, MET)),
        ("succeeded", (NOT_YET, NOT_YET, NOT_YET, NOT_YET, MET, NEVER, NEVER)),
        ("failed", (NOT_YET, NOT_YET, NOT_YET, NOT_YET, NEVER, MET, NEVER)),
        ("running", (NOT_YET, NOT_YET, MET, NOT_YET, NEVER, NEVER, NEVER)),
        ("suspended", (NOT_YET, NOT_YET, NOT_YET, MET, NEVER, NEVER, NEVER)),
        ("condition=Ready", (NOT_YET, NOT_YET, MET, NOT_YET, MET, NEVER, NEVER)),
        ("condition=Ready=false", (NOT_YET, MET, NOT_YET, NOT_YET, NEVER, MET, NEVER)),
        ("condition=Succeeded=Unknown", (NOT_YET, MET, MET, MET, NEVER, NEVER, MET)),
        ("condition=Audited", (NOT_YET,) * 7),
    ],
)
def test_a_run_is_there_or_not_yet_or_will_never_be(goal: str, verdicts: tuple[Verdict, ...]) -> None:
    runs = (NEW, PENDING, RUNNING, SUSPENDED, SUCCEEDED, FAILED, UNKNOWN)
    assert tuple(judge(parse_goal(goal), run) for run in runs) == verdicts


@pytest.mark.parametrize(
    "stale",
    [
        pytest.param(
            run_of(status=SUCCEEDED.status, meta={"generation": 2}), id="the spec was changed since: a resume, say"
        ),
        pytest.param(run_in("Succeeded", condition("Succeeded", "True"), rerun="again"), id="a rerun was asked for"),
    ],
)
def test_a_status_that_is_about_an_older_spec_says_nothing(stale: TrainingRun) -> None:
    assert {judge(parse_goal(goal), stale) for goal in ("ended", "succeeded", "failed")} == {NOT_YET}


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("Succeeded", Goal(word="succeeded")),
        ("condition=Ready", Goal(condition="Ready")),
        ("condition=Ready=unknown", Goal(condition="Ready", status="Unknown")),
    ],
)
def test_goals_are_read_as_kubectl_reads_them(text: str, goal: Goal) -> None:
    assert parse_goal(text) == goal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("suceeded", "did you mean succeeded?"),
        ("condition=", "there are: ended, succeeded"),
        ("condition=Ready=Maybe", "with True, False, Unknown"),
        ("a miracle", "nobody can wait for 'a miracle'"),
    ],
)
def test_a_goal_that_nobody_knows_is_refused_with_what_there_is(text: str, said: str) -> None:
    with pytest.raises(UnknownGoalError) as caught:
        parse_goal(text)
    assert said in str(caught.value)
