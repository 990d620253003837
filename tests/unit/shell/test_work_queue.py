"""The work queue: wake-ups coalesce, one reconcile per key is in flight, failures back off, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

import pytest

from tests.support.virtual_time import VirtualClock, after, run_virtually
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.shell.work_queue import RETRY_MAX_SECONDS, WorkQueue

A, B = Key("default", "a"), Key("default", "b")
Story = Callable[["Bench"], Awaitable[None]]


class Bench:
    """A queue whose reconciles take `takes` seconds and return what `answers` say; `calls` notes key and second."""

    def __init__(self, *, takes: float = 0) -> None:
        self.calls: list[tuple[Key, float]] = []
        self.answers: dict[Key, list[float | Exception | None]] = {}
        self.most_at_once: dict[Key, int] = {}
        self.in_flight: list[Key] = []
        self.takes = takes
        self.queue = WorkQueue(clock=VirtualClock(), reconcile=self.reconcile)

    async def reconcile(self, key: Key) -> datetime | None:
        self.calls.append((key, round(asyncio.get_running_loop().time(), 3)))
        self.in_flight.append(key)
        self.most_at_once[key] = max(self.most_at_once.get(key, 0), self.in_flight.count(key))
        await asyncio.sleep(self.takes)
        self.in_flight.remove(key)
        answer = self.answers.get(key, []).pop(0) if self.answers.get(key) else None
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else after(answer)


def tell(story: Story, *, takes: float = 0, workers: int = 1, seconds: float = 1000) -> Bench:
    """Runs a queue while `story` is told, and for some virtual time after it."""

    async def main() -> Bench:
        bench = Bench(takes=takes)
        work = asyncio.create_task(bench.queue.run(workers=workers))
        await story(bench)
        await asyncio.sleep(seconds)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        return bench

    return run_virtually(main())


def test_wakeups_before_the_work_begins_are_one() -> None:
    async def story(bench: Bench) -> None:
        for _ in range(5):
            bench.queue.wake(A)

    assert tell(story).calls == [(A, 0)]


def test_a_wakeup_while_in_flight_is_kept_and_never_runs_beside() -> None:
    async def story(bench: Bench) -> None:
        bench.queue.wake(A)
        await asyncio.sleep(1)
        bench.queue.wake(A)
        bench.queue.wake(A)

    bench = tell(story, takes=10, workers=3)
    assert bench.calls == [(A, 0), (A, 10)]
    assert bench.most_at_once == {A: 1}


def test_keys_wait_for_each_other_only_as_far_as_there_are_workers() -> None:
    async def story(bench: Bench) -> None:
        bench.queue.wake(A)
        bench.queue.wake(B)

    assert tell(story, takes=10, workers=1).calls == [(A, 0), (B, 10)]
    assert tell(story, takes=10, workers=2).calls == [(A, 0), (B, 0)]


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (2, 2), (3, 3), (4, 3), (8, 6)])
def test_a_namespace_whose_requests_hang_leaves_workers_to_the_others(workers: int, at_once: int) -> None:
    hanging = [Key("hangs", f"run-{n}") for n in range(20)]

    async def story(bench: Bench) -> None:
        for key in hanging:
            bench.queue.wake(key)
        await asyncio.sleep(1)
        assert len(bench.in_flight) == at_once
        bench.queue.wake(A)

    bench = tell(story, takes=30, workers=workers)
    (began,) = [at for key, at in bench.calls if key == A]
    assert began == 1 if at_once < workers else began <= 60, "at once, or after two of theirs where all are busy"
    assert sorted(key for key, _ in bench.calls if key != A) == sorted(hanging), "none of them is forgotten"


def test_what_reconcile_returns_wakes_the_key_again_then() -> None:
    async def story(bench: Bench) -> None:
        bench.answers[A] = [30, 45, None]
        bench.queue.wake(A)

    assert tell(story).calls == [(A, 0), (A, 30), (A, 45)]


def test_the_earlier_of_two_wakeups_stands() -> None:
    async def story(bench: Bench) -> None:
        bench.queue.wake(A, at=after(20))
        bench.queue.wake(A, at=after(50))
        bench.queue.wake(B, at=after(50))
        await asyncio.sleep(1)
        bench.queue.wake(B, at=after(10))

    assert tell(story).calls == [(B, 10), (A, 20)]


def test_an_early_wakeup_does_not_leave_the_late_one_behind() -> None:
    async def story(bench: Bench) -> None:
        bench.queue.wake(A, at=after(100))
        await asyncio.sleep(1)
        bench.queue.wake(A)

    assert tell(story).calls == [(A, 1)]


def test_the_longest_overdue_key_comes_first() -> None:
    async def story(bench: Bench) -> None:
        bench.queue.wake(B, at=after(-1))
        bench.queue.wake(A, at=after(-5))

    assert [key for key, _ in tell(story).calls] == [A, B]


def test_failures_back_off_until_one_succeeds_and_then_start_afresh(caplog: pytest.LogCaptureFixture) -> None:
    async def story(bench: Bench) -> None:
        bench.answers[A] = [*(OSError("disk full") for _ in range(3)), 100, OSError("again")]
        bench.queue.wake(A)

    bench = tell(story)
    assert bench.calls == [(A, 0), (A, 1), (A, 3), (A, 7), (A, 100), (A, 101)]
    assert "reconciling default/a failed (3 in a row); again in 4 s" in caplog.text


def test_an_error_of_ours_is_one_line_and_any_other_a_bug_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    async def story(bench: Bench) -> None:
        bench.answers[A] = [TrainmasterError("the API server does not answer")]
        bench.answers[B] = [ZeroDivisionError("what?")]
        bench.queue.wake(A)
        bench.queue.wake(B)

    tell(story)
    ours, bug = sorted(caplog.records, key=lambda record: record.levelno)
    assert (ours.levelname, ours.exc_info) == ("WARNING", None)
    assert ours.getMessage() == (
        "reconciling default/a failed (1 in a row): the API server does not answer; again in 1 s"
    )
    assert (bug.levelname, bug.exc_info is not None) == ("ERROR", True)


def test_back_off_is_bounded() -> None:
    async def story(bench: Bench) -> None:
        bench.answers[A] = [OSError("down") for _ in range(200)]
        bench.queue.wake(A)

    moments = [moment for _, moment in tell(story, seconds=3600).calls]
    assert moments[:8] == [0, 1, 3, 7, 15, 31, 63, 63 + RETRY_MAX_SECONDS]
    assert moments[-1] - moments[-2] == RETRY_MAX_SECONDS


def test_one_key_in_trouble_does_not_hold_up_another() -> None:
    async def story(bench: Bench) -> None:
        bench.answers[A] = [OSError("down") for _ in range(100)]
        bench.answers[B] = [5, 10, None]
        bench.queue.wake(A)
        bench.queue.wake(B)

    assert [moment for key, moment in tell(story).calls if key == B] == [0, 5, 10]


def test_a_wakeup_ends_a_back_off_at_once() -> None:
    async def story(bench: Bench) -> None:
        bench.answers[A] = [*(OSError("down") for _ in range(4)), None]
        bench.queue.wake(A)
        await asyncio.sleep(4)
        bench.queue.wake(A)

    assert tell(story, seconds=1).calls == [(A, 0), (A, 1), (A, 3), (A, 4)]


def test_it_ends_when_it_is_cancelled_even_in_the_middle_of_work() -> None:
    async def story(bench: Bench) -> None:
        bench.queue.wake(A)

    bench = tell(story, takes=10_000, seconds=1)
    assert bench.calls == [(A, 0)]
