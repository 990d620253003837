from __future__ import annotations

import pytest

from tests.support.runs import decision_of, status_of
from trainmaster.api.conditions import DecisionKind, DecisionState, Phase, Reason
from trainmaster.core.run.events import events_of
from trainmaster.core.run.standing import Standing

CALM = Standing(phase=Phase.RUNNING, reason=Reason.RUNNING)


def test_a_new_decision_is_told_once() -> None:
    before = status_of()
    after = status_of(decisions=(decision_of(DecisionKind.LAUNCH, reason=Reason.FIRST_LAUNCH),))
    (event,) = events_of(before, after, CALM)
    assert (event.type, event.reason, event.message) == ("Normal", Reason.FIRST_LAUNCH, "starting launch 1")
    assert events_of(after, after, CALM) == ()


def test_settling_a_decision_is_no_news() -> None:
    before = status_of(decisions=(decision_of(DecisionKind.LAUNCH),))
    after = status_of(decisions=(decision_of(DecisionKind.LAUNCH, state=DecisionState.DONE),))
    assert events_of(before, after, CALM) == ()


@pytest.mark.parametrize(("state", "words"), [(DecisionState.RECORDED, "setting "), (DecisionState.OBSERVED, "would ")])
def test_a_correction_is_told_with_target_and_evidence(*, state: str, words: str) -> None:
    adjust = decision_of(DecisionKind.ADJUST, state=state, target={"learning_rate": "0.1"}, evidence="norm nan")
    (event,) = events_of(status_of(), status_of(decisions=(adjust,)), CALM)
    assert event.message.startswith(words)
    assert event.message.endswith("learning_rate to 0.1: norm nan")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (Phase.PENDING, Phase.RUNNING, "Normal"),
        (Phase.RUNNING, Phase.SUSPENDED, "Normal"),
        (Phase.RUNNING, Phase.SUCCEEDED, "Normal"),
        (Phase.RUNNING, Phase.FAILED, "Warning"),
        (Phase.RUNNING, Phase.UNKNOWN, "Warning"),
        (Phase.RUNNING, Phase.PENDING, None),
        (Phase.PENDING, Phase.QUEUED, None),
        (Phase.RUNNING, Phase.RUNNING, None),
    ],
)
def test_a_change_of_phase_that_matters_is_told(*, before: str, after: str, told: str | None) -> None:
    standing = Standing(phase=after, reason="Because", message="in words")
    events = events_of(status_of(phase=before), status_of(phase=after), standing)
    expected = [] if told is None else [(told, "Because", "in words")]
    assert [(e.type, e.reason, e.message) for e in events] == expected


def test_crashes_are_told_as_they_are_counted() -> None:
    (event,) = events_of(status_of(crashes=1), status_of(crashes=3), CALM)
    assert (event.type, event.message) == ("Warning", "crash 3 of this rerun")
