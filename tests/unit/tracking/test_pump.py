"""The pump against a tracker that fails on command: everything once, trouble is a state, never an exception."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.api.protocol import Entry, EntryType
from trainmaster.api.trainingrun import TrackingStatus
from trainmaster.core.series import Point
from trainmaster.ports.series import KINDS, Kind
from trainmaster.ports.tracking import TrackedRun, TrackingRefusedError, TrackingUnreachableError
from trainmaster.shell.tracking import Backoff, TrackingPump

START = datetime(2026, 1, 1, tzinfo=UTC)
SOON = 30.0
"""Seconds that no flush here needs: every wait ends by an event, this only ends a test that hangs."""


class FixedClock:
    def now(self) -> datetime:
        return START


class FailingTracker:
    """A tracker in memory; `failures` are raised one by one, before or after the work of a `log` call is done."""

    def __init__(self) -> None:
        self.history: Counter[tuple[str, str, int]] = Counter()
        self.closed: list[tuple[str, str, datetime]] = []
        self.refused: dict[str, Exception] = {}
        self.failures: list[Exception] = []
        self.answers_get_lost = False
        self.files: list[tuple[str, Path]] = []
        self.file_error: Exception | None = None
        self.calls: list[str] = []
        self.threads: set[int] = set()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.get_ident())
        if self.failures and not (name == "log" and self.answers_get_lost):
            raise self.failures.pop(0)

    def open(self, run: TrackedRun) -> TrackingStatus:
        self._call("open")
        if run.uid in self.refused:
            raise self.refused[run.uid]
        return TrackingStatus(experiment_id="1", run_id=f"{run.uid}/{run.rerun}")

    def logged_steps(self, ref: TrackingStatus, kind: Kind) -> frozenset[int]:
        self._call("logged_steps")
        return frozenset(step for run, of, step in self.history if (run, of) == (ref.run_id, kind))

    def log(self, ref: TrackingStatus, points: Sequence[Point]) -> None:
        self._call("log")
        self.history.update((ref.run_id, point.kind, point.step) for point in points)
        if self.failures:
            raise self.failures.pop(0)

    def missing(self, ref: TrackingStatus, files: Sequence[Path]) -> tuple[Path, ...]:
        self._call("missing")
        return tuple(file for file in files if (ref.run_id, file) not in self.files)

    def keep(self, ref: TrackingStatus, file: Path) -> None:
        self._call("keep")
        if self.file_error is not None:
            raise self.file_error
        self.files.append((ref.run_id, file))

    def close(self, ref: TrackingStatus, *, outcome: str, end_time: datetime) -> None:
        self._call("close")
        self.closed.append((ref.run_id, outcome, end_time))


class Stage:
    def __init__(self) -> None:
        self.series = MemorySeriesStore()
        self.tracker = FailingTracker()
        self.opened: list[TrackingStatus] = []
        self._seq = 0

    def pump(self, *, pause: float = 0.001) -> TrackingPump:
        return TrackingPump(
            series=self.series,
            tracker=self.tracker,
            clock=FixedClock(),
            on_open=lambda _run, ref: self.opened.append(ref),
            backoff=lambda: Backoff(rng=random.Random(0), first=pause, longest=pause),
        )

    def told(self, *steps: int, uid: str = "u", kind: Kind = "validation", generation: int = 1) -> None:
        entries = []
        for step in steps:
            self._seq += 1
            entries.append(
                Entry(seq=self._seq, type=EntryType.POINT, time=START, generation=generation, step=step, kind=kind)
            )
        self.series.take(uid, rerun=0, launch=1, entries=entries)

    def once(self, *steps: int, uid: str = "u", kind: Kind = "validation") -> Counter[tuple[str, str, int]]:
        return Counter({(f"{uid}/0", kind, step): 1 for step in steps})


def run(uid: str = "u") -> TrackedRun:
    return TrackedRun(uid=uid, namespace="default", name=f"run-{uid}", rerun=0, workload="custom", start_time=START)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scene()

    asyncio.run(whole())


def test_what_is_in_the_series_is_sent_once_and_in_one_thread() -> None:
    stage = Stage()

    async def scene() -> None:
        stage.told(1, 2)
        stage.told(3, kind="train")
        async with stage.pump() as pump:
            pump.register(run())
            pump.register(run())
            assert await pump.flush(seconds=SOON)
            stage.told(4)
            pump.wake("u")
            assert await pump.flush(seconds=SOON)

    play(scene)
    assert stage.tracker.history == stage.once(1, 2, 4) + stage.once(3, kind="train")
    assert len(stage.opened) == 1
    assert stage.tracker.threads.isdisjoint({threading.get_ident()})
    assert len(stage.tracker.threads) == 1


def test_a_new_process_sends_only_what_the_tracker_lacks() -> None:
    stage = Stage()

    async def scene() -> None:
        for steps in ((1, 2), (3,), ()):
            stage.told(*steps)
            async with stage.pump() as pump:
                pump.register(run())
                assert await pump.flush(seconds=SOON)

    play(scene)
    assert stage.tracker.history == stage.once(1, 2, 3)


@pytest.mark.parametrize("failures", [1, 2, 5])
def test_an_answer_that_was_lost_doubles_nothing(failures: int) -> None:
    stage = Stage()
    stage.tracker.answers_get_lost = True
    stage.tracker.failures = [TrackingUnreachableError("timed out") for _ in range(failures)]

    async def scene() -> None:
        async with stage.pump() as pump:
            pump.register(run())
            for step in range(1, 8):
                stage.told(step)
                pump.wake("u")
                assert await pump.flush(seconds=SOON)

    play(scene)
    assert stage.tracker.history == stage.once(*range(1, 8))


def test_an_outage_is_a_state_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.told(1, 2, 3)
    stage.tracker.failures = [TrackingUnreachableError("no route to host") for _ in range(10_000)]

    async def scene() -> None:
        async with stage.pump() as pump:
            pump.register(run())
            assert not await pump.flush(seconds=0.2)
            assert len(stage.tracker.calls) > 2
            state = pump.state("u", rerun=0)
            assert state is not None
            assert (state.waiting, state.ref, state.trouble_since) == (3, None, START)
            assert "no route to host" in state.trouble
            stage.tracker.failures.clear()
            assert await pump.flush(seconds=SOON)
            state = pump.state("u", rerun=0)
            assert state is not None
            assert (state.waiting, state.trouble_since, state.trouble) == (0, None, "")

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert stage.tracker.history == stage.once(1, 2, 3)


def test_a_flush_does_not_wait_for_a_long_pause_and_gives_up_in_time() -> None:
    stage = Stage()
    stage.told(1)
    stage.tracker.failures = [TrackingUnreachableError("down") for _ in range(3)]

    async def scene() -> None:
        async with stage.pump(pause=86_400) as pump:
            pump.register(run())
            assert [await pump.flush(seconds=0.2) for _ in range(2)] == [False, False]
            stage.tracker.failures.clear()
            assert await pump.flush(seconds=SOON)

    play(scene)
    assert stage.tracker.history == stage.once(1)


@pytest.mark.parametrize("error", [TrackingRefusedError("experiment deleted"), ValueError("a bug in a library")])
def test_a_refusal_of_one_run_does_not_hold_up_another(error: Exception) -> None:
    stage = Stage()
    stage.told(1, uid="a")
    stage.told(2, uid="b")
    stage.tracker.refused = {"a": error}

    async def scene() -> None:
        async with stage.pump(pause=86_400) as pump:
            pump.register(run("a"))
            pump.register(run("b"))
            assert not await pump.flush(seconds=0.2)
            assert stage.tracker.history == stage.once(2, uid="b")
            states = [pump.state(uid, rerun=0) for uid in ("a", "b")]
            assert [state.trouble for state in states if state] == [str(error), ""]
            stage.tracker.refused.clear()
            assert await pump.flush(seconds=SOON)

    play(scene)
    assert stage.tracker.history == stage.once(1, uid="a") + stage.once(2, uid="b")


def test_a_run_is_closed_after_its_last_point_however_often_it_is_finished() -> None:
    stage = Stage()
    stage.told(1)
    stage.tracker.failures = [TrackingUnreachableError("down")]

    async def scene() -> None:
        async with stage.pump() as pump:
            pump.register(run())
            for _ in range(3):
                pump.finish("u", rerun=0, outcome="Completed", end_time=START + timedelta(hours=1))
                assert await pump.flush(seconds=SOON)

    play(scene)
    assert stage.tracker.closed == [("u/0", "Completed", START + timedelta(hours=1))]
    assert stage.tracker.calls[-1] == "close"


FILES = (Path("curves.png"), Path("model.onnx"))


def finished(pump: TrackingPump, *, files: tuple[Path, ...] = FILES) -> None:
    pump.register(run())
    pump.finish("u", rerun=0, outcome="Completed", end_time=START)
    pump.keep("u", rerun=0, files=files)


def test_files_follow_metrics_and_end_and_no_session_sends_them_again() -> None:
    stage = Stage()
    stage.told(1)

    async def scene() -> None:
        for _ in range(2):
            async with stage.pump() as pump:
                finished(pump)
                finished(pump)
                assert await pump.flush(seconds=SOON)

    play(scene)
    assert stage.tracker.files == [("u/0", file) for file in FILES]
    told = [call for call in stage.tracker.calls if call not in ("open", "logged_steps")]
    assert told == ["log", "close", "missing", "keep", "keep", "close", "missing"]


def test_a_session_that_ended_half_way_leaves_the_rest_to_the_next() -> None:
    stage = Stage()
    stage.tracker.files.append(("u/0", FILES[0]))

    async def scene() -> None:
        async with stage.pump() as pump:
            finished(pump)
            assert await pump.flush(seconds=SOON)

    play(scene)
    assert stage.tracker.files == [("u/0", file) for file in FILES]


@pytest.mark.parametrize("error", [kind("artifacts: no") for kind in (TrackingRefusedError, TrackingUnreachableError)])
def test_files_that_are_not_taken_are_told_and_hold_up_neither_the_end_nor_another_run(
    caplog: pytest.LogCaptureFixture, *, error: Exception
) -> None:
    stage = Stage()
    stage.told(1)
    stage.told(2, uid="b")
    stage.tracker.file_error = error

    async def scene() -> None:
        async with stage.pump(pause=86_400) as pump:
            finished(pump)
            pump.register(run("b"))
            assert not await pump.flush(seconds=0.2)
            assert stage.tracker.history == stage.once(1) + stage.once(2, uid="b")
            state = pump.state("u", rerun=0)
            assert state is not None
            assert (state.waiting, state.files, state.trouble) == (0, 2, "artifacts: no")
            stage.tracker.file_error = None
            assert await pump.flush(seconds=SOON)
            state = pump.state("u", rerun=0)
            assert state is not None
            assert (state.files, state.trouble) == (0, "")

    with caplog.at_level(logging.WARNING):
        play(scene)
    [record] = caplog.records
    assert record.getMessage() == (
        "tracking of default/run-u: artifacts: no; all metrics are there, files about the model stay where "
        "they are and are sent later"
    )
    assert stage.tracker.closed == [("u/0", "Completed", START)]
    assert stage.tracker.files == [("u/0", file) for file in FILES]


def test_steps_that_a_newer_generation_comes_to_again_are_skipped_and_counted() -> None:
    stage = Stage()

    async def scene() -> None:
        async with stage.pump() as pump:
            pump.register(run())
            stage.told(1, 2, 3)
            assert await pump.flush(seconds=SOON)
            stage.told(2, 3, 4, generation=2)
            pump.wake("u")
            assert await pump.flush(seconds=SOON)
            state = pump.state("u", rerun=0)
            assert state is not None
            assert (state.skipped, state.waiting) == (2, 0)

    play(scene)
    assert stage.tracker.history == stage.once(1, 2, 3, 4)


def test_what_nobody_registered_is_nobody() -> None:
    async def scene() -> None:
        async with Stage().pump() as pump:
            pump.wake("nobody")
            pump.finish("nobody", rerun=0, outcome="Failed", end_time=START)
            pump.keep("nobody", rerun=0, files=FILES)
            assert pump.state("nobody", rerun=0) is None

    play(scene)


def test_pauses_double_to_a_limit_and_differ_between_operators() -> None:
    backoff = Backoff(rng=random.Random(7), first=1, longest=8)
    for _ in range(2):
        pauses = [backoff.next() for _ in range(6)]
        assert all(whole / 2 <= pause <= whole for pause, whole in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True))
        backoff.reset()
    assert Backoff(rng=random.Random(1)).next() != Backoff(rng=random.Random(2)).next()


def test_all_kinds_are_sent() -> None:
    stage = Stage()

    async def scene() -> None:
        for kind in KINDS:
            stage.told(5, kind=kind)
        async with stage.pump() as pump:
            pump.register(run())
            assert await pump.flush(seconds=SOON)

    play(scene)
    assert {kind for _, kind, _ in stage.tracker.history} == set(KINDS)
