"""The work queue against a naive model of it: namespaces take turns, nothing is lost, late, early or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.support.virtual_time import VirtualClock, after, run_virtually
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.shell.work_queue import FREE_SHARE, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS, WorkQueue

FLOOD = 1000
BEHIND = Key("b", "one")


@dataclass(frozen=True)
class Call:
    """What one reconcile does: how long it takes, and when it asks to be called again (None: never)."""

    takes: int = 0
    again: int | None = None
    fails: bool = False


@dataclass(frozen=True)
class Wakeup:
    """A key is woken after a pause, for a moment relative to then (None: now)."""

    pause: int
    key: Key
    offset: int | None


@dataclass
class Model:
    """What a queue owes, kept the simple way; each call of `started` checks that it is the right thing at that time."""

    workers: int
    due: dict[Key, float] = field(default_factory=dict)
    startable: dict[Key, float] = field(default_factory=dict)
    """Since when nothing but the workers has stood in a waiting key's way, or will."""
    in_flight: set[Key] = field(default_factory=set)
    full_until: float = -1
    own_full_until: dict[str, float] = field(default_factory=dict)
    """By namespace: until when it had as many in flight as one may."""
    failures: dict[Key, int] = field(default_factory=dict)
    turns: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each namespace that has a key waiting for its turn: what the others were given since."""

    @property
    def share(self) -> int:
        """Reconciles of one namespace at once."""
        return self.workers - self.workers // FREE_SHARE

    def busy(self, namespace: str) -> int:
        return sum(key.namespace == namespace for key in self.in_flight)

    def woken(self, key: Key, at: float, *, now: float) -> None:
        if key not in self.due or at < self.due[key]:
            self.due[key] = at
            self.startable[key] = max(at, now)

    def started(self, key: Key, *, now: float) -> None:
        self.note_turns(now)
        assert key in self.due, f"{key} was not woken"
        assert key not in self.in_flight, f"{key} is in flight"
        assert len(self.in_flight) < self.workers
        assert self.busy(key.namespace) < self.share
        # Neither early nor late: just when it could be, or when a worker, or one of its namespace's, became free.
        free = max(self.full_until, self.own_full_until.get(key.namespace, -1))
        assert now == self.startable[key] or now == free >= self.startable[key]
        own = [other for other in self.waiting(now) if other.namespace == key.namespace]
        assert self.due[key] == min(self.due[other] for other in own), f"{key} is not the longest overdue"
        for namespace, given_to in self.turns.items():
            if namespace != key.namespace:
                given_to[key.namespace] = given_to.get(key.namespace, 0) + 1
                assert given_to[key.namespace] <= 1, f"{namespace} waits and {key.namespace} has two turns"
        self.turns.pop(key.namespace, None)
        self.in_flight.add(key)
        if self.busy(key.namespace) == self.share:
            self.turns.pop(key.namespace, None)
        del self.due[key], self.startable[key]

    def note_turns(self, now: float) -> None:
        for waiting in self.waiting(now):
            if self.busy(waiting.namespace) < self.share:
                self.turns.setdefault(waiting.namespace, {})

    def ended(self, key: Key, again: float | None, *, now: float, failed: bool) -> None:
        if len(self.in_flight) == self.workers:
            self.full_until = now
        if self.busy(key.namespace) == self.share:
            self.own_full_until[key.namespace] = now
        self.in_flight.remove(key)
        if key in self.due:
            self.startable[key] = max(self.due[key], now)
        self.failures[key] = self.failures.get(key, 0) + 1 if failed else 0
        if failed:
            again = now + min(RETRY_MAX_SECONDS, RETRY_FIRST_SECONDS * 2 ** (self.failures[key] - 1))
        if again is not None:
            self.woken(key, again, now=now)

    def waiting(self, now: float) -> list[Key]:
        return [key for key in self.due if key not in self.in_flight and self.startable[key] <= now]


class Bench:
    """A queue in virtual time, its model beside it."""

    def __init__(self, *, workers: int, calls: Iterable[Call]) -> None:
        self.model = Model(workers=workers)
        self.order: list[Key] = []
        self.calls = iter(calls)
        self.queue = WorkQueue(clock=VirtualClock(), reconcile=self.reconcile, observer=self)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wake(self, key: Key, *, offset: int | None = None) -> None:
        now = self.now()
        self.model.woken(key, now + (offset or 0), now=now)
        self.queue.wake(key, at=None if offset is None else after(now + offset))
        assert len(self.queue) == len(self.model.due)

    async def reconcile(self, _: Key) -> datetime | None:
        call = next(self.calls, Call())
        await asyncio.sleep(call.takes)
        self.outcome = None if call.again is None else self.now() + call.again
        if call.fails:
            raise TrainmasterError("as told")
        return None if self.outcome is None else after(self.outcome)

    def added(self) -> None:
        """The model knows."""

    def started(self, key: Key, waited: float) -> None:
        due = self.model.due.get(key)
        assert due is None or waited == self.now() - due
        self.model.started(key, now=self.now())
        self.order.append(key)

    def ended(self, key: Key, *, failed: bool) -> None:
        self.model.ended(key, None if failed else self.outcome, now=self.now(), failed=failed)


def play(bench: Bench, wakeups: Iterable[Wakeup], *, rest: float) -> None:
    """Run the queue while keys are woken, and for some time after."""

    async def main() -> None:
        work = asyncio.create_task(bench.queue.run(workers=bench.model.workers))
        for wakeup in wakeups:
            if wakeup.pause:
                await asyncio.sleep(wakeup.pause)
            bench.wake(wakeup.key, offset=wakeup.offset)
        await asyncio.sleep(rest)
        if work.done():
            await work
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    run_virtually(main())


KEYS = st.sampled_from([Key(namespace, name) for namespace in "ab" for name in "xyz"])
WAKEUPS = st.builds(Wakeup, pause=st.integers(0, 3), key=KEYS, offset=st.none() | st.integers(-4, 8))
CALLS = st.builds(Call, takes=st.integers(0, 3), again=st.none() | st.integers(-1, 6), fails=st.booleans())


@given(wakeups=st.lists(WAKEUPS, max_size=15), calls=st.lists(CALLS, max_size=15), workers=st.integers(1, 2))
def test_whatever_is_woken_is_called_just_when_it_should_be(
    wakeups: list[Wakeup], calls: list[Call], workers: int
) -> None:
    bench = Bench(workers=workers, calls=calls)
    play(bench, wakeups, rest=1000)

    assert (bench.model.due, bench.model.in_flight, len(bench.queue)) == ({}, set(), 0)


def test_a_flood_in_one_namespace_holds_up_another_by_one_call_per_worker() -> None:
    flood = [Wakeup(0, Key("a", f"{n:04}"), None) for n in range(FLOOD)]
    for workers in (1, 8):
        bench = Bench(workers=workers, calls=[Call(takes=1)] * (FLOOD + 1))
        play(bench, [*flood, Wakeup(0, BEHIND, None)], rest=FLOOD + 10)

        assert BEHIND in bench.order[:2]
        assert len(bench.order) == FLOOD + 1


def test_a_key_that_comes_when_the_flood_is_half_worked_off_is_next() -> None:
    flood = [Wakeup(0, Key("a", f"{n:04}"), None) for n in range(FLOOD)]
    bench = Bench(workers=1, calls=[Call(takes=1)] * (FLOOD + 1))
    play(bench, [*flood, Wakeup(500, BEHIND, None)], rest=FLOOD)

    assert bench.order.index(BEHIND) in {500, 501, 502}
    assert len(bench.order) == FLOOD + 1


def test_namespaces_take_turns_whatever_they_have_waiting() -> None:
    wakeups = [Wakeup(0, Key(ns, str(n)), None) for ns, count in (("a", 9), ("b", 3), ("c", 3)) for n in range(count)]
    bench = Bench(workers=1, calls=[])
    play(bench, wakeups, rest=1)

    assert "".join(key.namespace for key in bench.order) == "abcabcabc" + "a" * 6


def test_within_a_namespace_the_longest_overdue_comes_first_though_others_were_woken_before() -> None:
    wakeups = [Wakeup(0, Key("a", str(seconds)), -seconds) for seconds in (3, 1, 9, 5)]
    bench = Bench(workers=1, calls=[])
    play(bench, wakeups, rest=1)

    assert [key.name for key in bench.order] == ["9", "5", "3", "1"]


def test_also_when_it_comes_later_than_those_that_wait_already() -> None:
    wakeups = [
        Wakeup(0, Key("a", "busy"), None),
        *(Wakeup(int(not n), Key("a", str(n)), -1) for n in range(3)),
        Wakeup(1, Key("a", "overdue"), -60),
    ]
    bench = Bench(workers=1, calls=[Call(takes=5)])
    play(bench, wakeups, rest=10)

    assert [key.name for key in bench.order] == ["busy", "overdue", "0", "1", "2"]
