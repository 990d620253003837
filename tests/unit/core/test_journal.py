from __future__ import annotations

from tests.support.runs import T0, at, decision_of, status_of
from trainmaster.api.conditions import DecisionKind, DecisionState
from trainmaster.api.trainingrun import Attempt
from trainmaster.core.journal import (
    KEPT_DECISIONS,
    close_attempt,
    decision_id,
    is_open,
    open_decisions,
    record,
    settle,
)

DONE, OPEN = DecisionState.DONE, DecisionState.RECORDED


def test_settled_decisions_are_kept_to_a_number_the_newest_ones() -> None:
    status = status_of()
    for launch in range(1, 100):
        status = record(status, decision_of(DecisionKind.LAUNCH, launch=launch, state=DONE))
    assert [d.launch for d in status.decisions] == list(range(100 - KEPT_DECISIONS, 100))


def test_open_decisions_are_never_dropped_however_many() -> None:
    status = status_of()
    for launch in range(1, 100):
        status = record(status, decision_of(DecisionKind.LAUNCH, launch=launch, state=OPEN))
        status = record(status, decision_of(DecisionKind.END_LAUNCH, launch=launch, state=DONE))
    assert [d.launch for d in open_decisions(status, DecisionKind.LAUNCH)] == list(range(1, 100))


def test_what_a_newer_version_wrote_is_neither_open_nor_dropped() -> None:
    acting = decision_of(DecisionKind.LAUNCH, launch=1, state="Acting")
    teleport = decision_of("Teleport", launch=2, state=OPEN)
    arrived = decision_of("Teleport", launch=3, state=DONE)
    status = status_of(decisions=(acting, teleport, arrived))
    assert [is_open(d) for d in status.decisions] == [False, False, False]

    for launch in range(10, 100):
        status = record(status, decision_of(DecisionKind.LAUNCH, launch=launch, state=DONE))
    assert status.decisions[:3] == (acting, teleport, arrived)


def test_open_decisions_are_told_by_kind_oldest_first() -> None:
    launch, end = decision_of(DecisionKind.LAUNCH), decision_of(DecisionKind.END_LAUNCH)
    done = decision_of(DecisionKind.ADJUST, state=DONE)
    status = status_of(decisions=(end, done, launch))
    assert open_decisions(status) == (end, launch)
    assert open_decisions(status, DecisionKind.LAUNCH, DecisionKind.ADJUST) == (launch,)


def test_settling_changes_the_named_ones_only() -> None:
    first, second = decision_of(DecisionKind.LAUNCH), decision_of(DecisionKind.END_LAUNCH)
    status = settle(status_of(decisions=(first, second)), ids=frozenset({second.id}), state=DecisionState.VOID)
    assert [d.state for d in status.decisions] == [OPEN, DecisionState.VOID]
    assert status.decisions[0] is first


def test_names_stay_unique_when_a_clock_repeats_its_seconds() -> None:
    status = status_of()
    for _ in range(5):
        name = decision_id(status, kind=DecisionKind.END_LAUNCH, launch=1, generation=1, now=at(3))
        status = record(status, decision_of(DecisionKind.END_LAUNCH, id=name))
    assert len({d.id for d in status.decisions}) == 5


def test_only_the_newest_attempt_is_closed_and_only_once() -> None:
    old = Attempt(number=1, cause="FirstLaunch", start_time=T0, launch=1, outcome="Corrected")
    new = Attempt(number=2, cause="GradientExplosion", start_time=T0, launch=1)
    assert [a.outcome for a in close_attempt((old, new), outcome="Completed")] == ["Corrected", "Completed"]
    assert close_attempt((new, old), outcome="Completed") == (new, old)
    assert close_attempt((), outcome="Completed") == ()
