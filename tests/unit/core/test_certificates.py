"""When certificates are made anew: a table, and twelve years of it with an operator that is away now and then."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.core.certificates import (
    AUTHORITY_LIFE,
    HANDED_OUT,
    LEAF_LIFE,
    MAKE_NEXT,
    RENEW_LEAF,
    SWAP,
    Authority,
    Held,
    Leaf,
    Step,
    leaf_names,
    next_step,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = frozenset({"reports.ops.svc"})
DAY = timedelta(days=1)


def authority(key_id: str = "a", *, left: timedelta, age: timedelta | None = None) -> Authority:
    begins = NOW + left - AUTHORITY_LIFE if age is None else NOW - age
    return Authority(key_id=key_id, begins=begins, ends=NOW + left)


def leaf(issuer: str = "a", *, left: timedelta = LEAF_LIFE, names: frozenset[str] = NAMES) -> Leaf:
    return Leaf(issuer=issuer, names=names, begins=NOW + left - LEAF_LIFE, ends=NOW + left)


YOUNG, OLD, LAST = authority(left=MAKE_NEXT), authority(left=MAKE_NEXT - DAY), authority(left=SWAP - DAY)
NEXT = authority("b", left=AUTHORITY_LIFE - HANDED_OUT, age=HANDED_OUT)
FRESH_NEXT = authority("b", left=AUTHORITY_LIFE, age=timedelta())


@pytest.mark.parametrize(
    ("held", "step"),
    [
        pytest.param(Held(), Step.BEGIN, id="an empty Secret"),
        pytest.param(Held(leaf=leaf()), Step.BEGIN, id="a leaf whose authority is lost"),
        pytest.param(
            Held(authority=authority(left=timedelta()), leaf=leaf()), Step.BEGIN, id="an authority that ended"
        ),
        pytest.param(Held(successor=NEXT), Step.SWAP, id="the authority is lost, its successor is there"),
        pytest.param(
            Held(authority=authority(left=-DAY), successor=FRESH_NEXT), Step.SWAP, id="the authority ended unnoticed"
        ),
        pytest.param(Held(authority=YOUNG), Step.LEAF, id="no leaf"),
        pytest.param(Held(authority=YOUNG, leaf=leaf()), Step.NOTHING, id="all is well"),
        pytest.param(Held(authority=YOUNG, leaf=leaf(left=RENEW_LEAF)), Step.NOTHING, id="a leaf with a month left"),
        pytest.param(Held(authority=YOUNG, leaf=leaf(left=RENEW_LEAF - DAY)), Step.LEAF, id="a leaf with less"),
        pytest.param(Held(authority=YOUNG, leaf=leaf("b")), Step.LEAF, id="a leaf of another authority"),
        pytest.param(
            Held(authority=YOUNG, leaf=leaf(left=LEAF_LIFE + DAY)), Step.LEAF, id="a leaf that is not valid yet"
        ),
        pytest.param(
            Held(authority=YOUNG, leaf=leaf(names=frozenset({"other"}))), Step.LEAF, id="a leaf for other names"
        ),
        pytest.param(
            Held(authority=YOUNG, leaf=leaf(names=NAMES | {"other"})), Step.NOTHING, id="a leaf for more names"
        ),
        pytest.param(Held(authority=OLD, leaf=leaf()), Step.MAKE_NEXT, id="time for a successor"),
        pytest.param(Held(authority=OLD, successor=NEXT, leaf=leaf()), Step.NOTHING, id="the successor waits"),
        pytest.param(Held(authority=LAST, successor=NEXT, leaf=leaf()), Step.SWAP, id="its time has come"),
        pytest.param(
            Held(authority=LAST, successor=FRESH_NEXT, leaf=leaf()), Step.NOTHING, id="too few launchers know it yet"
        ),
        pytest.param(
            Held(authority=authority(left=LEAF_LIFE - DAY), successor=FRESH_NEXT, leaf=leaf()),
            Step.SWAP,
            id="known or not: the authority ends before a leaf would",
        ),
    ],
)
def test_the_next_step(held: Held, step: Step) -> None:
    assert next_step(held, names=NAMES, now=NOW) is step


def test_replicas_that_call_themselves_differently_share_a_leaf() -> None:
    held = Held(authority=YOUNG, leaf=leaf(names=frozenset({"old.svc"})))

    names = leaf_names(held, names=NAMES, now=NOW)

    assert names == NAMES | {"old.svc"}
    shared = replace(held, leaf=leaf(names=names))
    assert next_step(shared, names=frozenset({"old.svc"}), now=NOW) is Step.NOTHING
    assert next_step(shared, names=NAMES, now=NOW) is Step.NOTHING
    aged = replace(held, leaf=leaf(left=RENEW_LEAF - DAY, names=names))
    assert leaf_names(aged, names=NAMES, now=NOW) == NAMES, "a name that nobody asks for any more goes with its leaf"


# -- twelve years -----------------------------------------------------------------------------------------------------


@dataclass
class Installation:
    """A Secret that is kept as the decision says, and launchers that were told nothing since their Jobs were made."""

    now: datetime = NOW
    held: Held = field(default_factory=Held)
    crossed: dict[str, Authority] = field(default_factory=dict)
    """By the name of a successor's key, the authority that has signed it, too."""
    jobs: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)
    """When each was made, and the keys of the authorities that it was given."""
    made: int = 0
    steps: list[Step] = field(default_factory=list)

    def keep(self) -> None:
        """What a replica does that looks."""
        taken = 0
        while (step := next_step(self.held, names=NAMES, now=self.now)) is not Step.NOTHING:
            self.take(step)
            taken += 1
            assert taken <= 4, self.steps

    def take(self, step: Step) -> None:
        self.steps.append(step)
        if step is Step.BEGIN:
            self.held = Held(authority=self.new_authority())
        elif step is Step.MAKE_NEXT:
            successor = self.new_authority()
            assert self.held.authority is not None
            self.crossed[successor.key_id] = self.held.authority
            self.held = replace(self.held, successor=successor)
        elif step is Step.SWAP:
            self.held = replace(self.held, authority=self.held.successor, successor=None)
        else:
            assert self.held.authority is not None
            ends = min(self.now + LEAF_LIFE, self.held.authority.ends)
            new = Leaf(issuer=self.held.authority.key_id, names=NAMES, begins=self.now, ends=ends)
            self.held = replace(self.held, leaf=new)

    def new_authority(self) -> Authority:
        self.made += 1
        return Authority(key_id=f"{self.made}", begins=self.now, ends=self.now + AUTHORITY_LIFE)

    def make_job(self) -> None:
        authorities = (self.held.authority, self.held.successor)
        self.jobs.append((self.now, frozenset(each.key_id for each in authorities if each is not None)))

    def trusts(self, known: frozenset[str]) -> bool:
        """Whether a launcher that knows these authorities takes the leaf that is shown."""
        shown, signer = self.held.leaf, self.held.authority
        if shown is None or signer is None or not shown.begins <= self.now < shown.ends:
            return False
        before = self.crossed.get(shown.issuer)
        own = shown.issuer in known and self.now < signer.ends
        return own or (before is not None and before.key_id in known and self.now < before.ends)


absences = st.one_of(st.integers(1, 29), st.integers(30, 400))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(absences, st.sampled_from(["looks", "looks", "looks", "leaf is lost", "authority is lost"]))))
def test_in_twelve_years_no_launcher_of_the_last_three_is_locked_out(turns: list[tuple[int, str]]) -> None:
    place = Installation()
    place.keep()
    end = NOW + timedelta(days=12 * 365)
    plan = iter([*turns, *[(20, "looks")] * 300])
    while place.now < end:
        days, happened = next(plan)
        place.make_job()
        place.now += timedelta(days=days)
        shown = place.held.leaf
        assert shown is not None
        if days < RENEW_LEAF.days:
            assert place.now < shown.ends, "an operator that looks every month always has something to show"
        if happened == "leaf is lost":
            place.held = replace(place.held, leaf=None)
        elif happened == "authority is lost" and place.held.successor is not None:
            place.held = replace(place.held, authority=None)
        place.keep()
        silent = [(made, known) for made, known in place.jobs if place.now - made < SWAP]
        locked_out = [made for made, known in silent if not place.trusts(known)]
        assert not locked_out, (place.now, locked_out, place.steps)


def test_an_operator_that_always_looks_has_two_rotations_of_the_authority_in_fourteen_years() -> None:
    place = Installation()
    place.keep()
    told: list[tuple[int, Step]] = []
    for day in range(14 * 365):
        place.now = NOW + timedelta(days=day)
        before = len(place.steps)
        place.keep()
        told += [(day, step) for step in place.steps[before:] if step is not Step.LEAF]

    made_next = AUTHORITY_LIFE - MAKE_NEXT
    swapped = AUTHORITY_LIFE - SWAP
    assert [step for _, step in told] == [Step.MAKE_NEXT, Step.SWAP] * 2
    assert [day for day, _ in told][:2] == [made_next.days + 1, swapped.days + 1]
    renewals = place.steps.count(Step.LEAF)
    assert 14 * 365 / 60 - 3 <= renewals <= 14 * 365 / 60 + 3
