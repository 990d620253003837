"""Brings the tracking server up to date with the series, off the way of training.

For each registered rerun: open its tracked run, read back which points it has, send the others, close it when it has
ended and nothing waits; then have copies kept of the files about its model that it lacks. The series is on disk and the
server is the only memory of what it has, so a new process, a retry and a first try are the same thing.

All calls to the tracker are made in one worker thread. Trouble is a state, with one warning at its start and one note
at its end; it never reaches training. A server out of reach holds up all runs and is asked again with growing pauses;
a refusal holds up only the run that it concerns.

Points are told apart by (kind, step). After a roll-back, a newer generation comes to steps that are in the history
already: such points are not sent (`TrackingState.skipped`), they are in the series alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

from trainmaster.api.errors import TrainmasterError
from trainmaster.api.trainingrun import TrackingStatus
from trainmaster.core.series import Point
from trainmaster.ports.clock import Clock
from trainmaster.ports.series import KINDS, Kind, SeriesStore
from trainmaster.ports.tracking import TrackedRun, Tracker, TrackingUnreachableError

logger = logging.getLogger(__name__)

CHUNK: Final = 200
"""Points in one call to the tracker: some seconds of work, after which a stop is heard."""

METRICS_WAIT: Final = "training goes on, metrics are kept and sent later (of single steps the newest 2000)"
FILES_WAIT: Final = "all metrics are there, files about the model stay where they are and are sent later"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingState:
    """How far tracking of one rerun is."""

    ref: TrackingStatus | None
    """None until the tracker has been reached once."""
    waiting: int
    """Points that the tracker is not known to have."""
    skipped: int
    """Points of a newer generation at a step that the tracker has already."""
    files: int
    """Files that the tracker is not known to have."""
    trouble_since: datetime | None
    trouble: str
    """Empty when there is none."""


class Backoff:
    """Pauses between tries: doubling from `first` to `longest` seconds, each cut by up to half at random.

    The jitter keeps many operators from asking a server that comes back all at once.
    """

    def __init__(self, *, rng: random.Random, first: float = 1.0, longest: float = 60.0) -> None:
        self._rng = rng
        self._first = first
        self._longest = longest
        self._whole = first

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        whole, self._whole = self._whole, min(2 * self._whole, self._longest)
        return whole * self._rng.uniform(0.5, 1)

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._whole = self._first


class _Trouble:
    """An outage: since when, why, and when to try again."""

    def __init__(self, *, what: str, backoff: Backoff) -> None:
        self._what = what
        self._backoff = backoff
        self.since: datetime | None = None
        self.message = ""
        self.retry_at = 0.0

    def hit(self, error: Exception, *, consequence: str, now: datetime, monotonic: float) -> None:
        if self.since is None:
            self.since = now
            logger.warning("%s: %s; %s", self._what, error, consequence)
        self.message = str(error)
        self.retry_at = monotonic + self._backoff.next()

    def over(self) -> None:
        if self.since is not None:
            logger.info("%s: works again; there was trouble since %s", self._what, self.since.isoformat())
        self.since, self.message = None, ""
        self.retry_now()

    def retry_now(self) -> None:
        self.retry_at = 0.0
        self._backoff.reset()


class _Job:
    """One rerun to track."""

    def __init__(self, run: TrackedRun, *, trouble: _Trouble) -> None:
        self.run = run
        self.trouble = trouble
        self.ref: TrackingStatus | None = None
        self.connected = False
        """Whether `ref` and `logged` are known to be as the server has them."""
        self.logged: dict[Kind, set[int]] = {kind: set() for kind in KINDS}
        self.dirty = True
        self.ending: tuple[str, datetime] | None = None
        self.closed = False
        self.files: tuple[Path, ...] | None = None
        """Those that the server is not known to have; None until somebody names any."""


class TrackingPump:
    """Sends points from the series store to the tracker, while the `async with` block runs.

    Args:
        series: Where points come from; used on the event loop's thread only.
        tracker: Where they go; used in one worker thread only. Interpreters wait for a call under way when they exit.
        clock: Tells since when there is trouble.
        on_open: Called on the event loop's thread whenever a tracked run was found or created.
        backoff: Makes the pauses between tries.
        monotonic: Seconds that never jump.
    """

    def __init__(
        self,
        *,
        series: SeriesStore,
        tracker: Tracker,
        clock: Clock,
        on_open: Callable[[TrackedRun, TrackingStatus], None] = lambda _run, _ref: None,
        backoff: Callable[[], Backoff] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._series = series
        self._tracker = tracker
        self._clock = clock
        self._on_open = on_open
        rng = random.Random()  # noqa: S311  # jitter is no secret
        self._backoff = backoff or (lambda: Backoff(rng=rng))
        self._monotonic = monotonic
        self._server = _Trouble(what="tracking", backoff=self._backoff())
        self._jobs: dict[tuple[str, int], _Job] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tracking")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start."""
        self._task = asyncio.create_task(self._work(), name="tracking")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop at once; `flush` first to send what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def register(self, run: TrackedRun) -> None:
        """Track a rerun from now on; what its series holds already is sent first. Doing it again changes nothing."""
        key = (run.uid, run.rerun)
        if key not in self._jobs:
            trouble = _Trouble(what=f"tracking of {run.namespace}/{run.name}", backoff=self._backoff())
            self._jobs[key] = _Job(run, trouble=trouble)
            self._set_dirty(self._jobs[key])

    def wake(self, uid: str) -> None:
        """There may be new points of this run. Cheap: call it for every report."""
        for (of_uid, _), job in self._jobs.items():
            if of_uid == uid:
                self._set_dirty(job)

    def finish(self, uid: str, *, rerun: int, outcome: str, end_time: datetime) -> None:
        """Close the tracked run, with one of `conditions.Outcome`, as soon as it has all points."""
        job = self._jobs.get((uid, rerun))
        if job is not None and job.ending != (outcome, end_time):
            job.ending, job.closed = (outcome, end_time), False
            self._set_dirty(job)

    def keep(self, uid: str, *, rerun: int, files: Sequence[Path]) -> None:
        """Have copies of files kept with the tracked run, once it is closed; those that are there are not sent again.

        After `close`, because a server may take metrics and refuse files, and the run has ended all the same. The first
        call counts: a run that has ended changes its files no more.
        """
        job = self._jobs.get((uid, rerun))
        if job is not None and job.files is None:
            job.files = tuple(files)
            self._set_dirty(job)

    def state(self, uid: str, *, rerun: int) -> TrackingState | None:
        """How far tracking of a rerun is; None for one that is not registered. Raises SeriesError."""
        job = self._jobs.get((uid, rerun))
        if job is None:
            return None
        waiting, skipped = 0, 0
        for kind in KINDS:
            points = self._points(job, kind)
            unsent = sum(1 for _ in _unsent(points, job.logged[kind]))
            waiting += unsent
            skipped += len(points) - unsent - len({point.step for point in points} & job.logged[kind])
        trouble = job.trouble if job.trouble.since else self._server
        return TrackingState(
            ref=job.ref,
            waiting=waiting,
            skipped=skipped,
            files=len(job.files or ()),
            trouble_since=trouble.since,
            trouble=trouble.message,
        )

    async def flush(self, *, seconds: float) -> bool:
        """Send what waits, without regard to pauses; False when some of it still waits after so many seconds."""
        for trouble in (self._server, *(job.trouble for job in self._jobs.values())):
            trouble.retry_now()
        self._idle.clear()
        self._wake.set()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _set_dirty(self, job: _Job) -> None:
        job.dirty = True
        self._idle.clear()
        self._wake.set()

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            await self._pass()
            late = [job for job in self._jobs.values() if job.dirty]
            if not late:
                self._idle.set()
            retry_at = min((max(job.trouble.retry_at, self._server.retry_at) for job in late), default=None)
            pause = None if retry_at is None else max(0.0, retry_at - self._monotonic())
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _pass(self) -> None:
        """Bring every run up to date that is not, and may be tried."""
        for job in list(self._jobs.values()):
            now = self._monotonic()
            if not job.dirty or now < max(job.trouble.retry_at, self._server.retry_at):
                continue
            job.dirty = False
            try:
                await self._bring_up(job)
            except TrackingUnreachableError as error:
                # Where artifacts are kept may be out of reach on its own: no other run's metrics wait for that.
                self._failed(job, error, trouble=job.trouble if job.closed else self._server)
            except TrainmasterError as error:
                self._failed(job, error, trouble=job.trouble)
            except Exception as error:  # whatever a tracker raises: it must end tracking of no other run
                logger.debug("unexpected error in tracking", exc_info=error)
                self._failed(job, error, trouble=job.trouble)
            else:
                self._server.over()
                job.trouble.over()

    def _failed(self, job: _Job, error: Exception, *, trouble: _Trouble) -> None:
        # What the server has now is unknown: the next try opens the run again and reads back.
        job.connected, job.dirty = False, True
        consequence = FILES_WAIT if job.closed else METRICS_WAIT
        trouble.hit(error, consequence=consequence, now=self._clock.now(), monotonic=self._monotonic())

    async def _bring_up(self, job: _Job) -> None:
        ref = job.ref
        if ref is None or not job.connected:
            ref = await self._call(self._tracker.open, job.run)
            for kind in KINDS:
                job.logged[kind] = set(await self._call(self._tracker.logged_steps, ref, kind))
            job.ref, job.connected = ref, True
            self._on_open(job.run, ref)
        for kind in KINDS:
            unsent = list(_unsent(self._points(job, kind), job.logged[kind]))
            for start in range(0, len(unsent), CHUNK):
                chunk = unsent[start : start + CHUNK]
                await self._call(self._tracker.log, ref, chunk)
                job.logged[kind].update(point.step for point in chunk)
        # New points that came meanwhile have made the job dirty: they are sent first.
        if job.ending is not None and not job.closed and not job.dirty:
            outcome, end_time = job.ending
            await self._call(self._tracker.close, ref, outcome=outcome, end_time=end_time)
            job.closed = (outcome, end_time) == job.ending
        if job.closed and job.files and not job.dirty:
            await self._keep(job, ref)

    async def _keep(self, job: _Job, ref: TrackingStatus) -> None:
        job.files = await self._call(self._tracker.missing, ref, job.files or ())
        while job.files:
            await self._call(self._tracker.keep, ref, job.files[0])
            job.files = job.files[1:]

    def _points(self, job: _Job, kind: Kind) -> tuple[Point, ...]:
        return self._series.points(job.run.uid, rerun=job.run.rerun, kind=kind)

    async def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))


def _unsent(points: tuple[Point, ...], logged: set[int]) -> Iterator[Point]:
    """Points at steps that are not logged; of several generations at one step, the oldest."""
    seen = set(logged)
    for point in points:
        if point.step not in seen:
            seen.add(point.step)
            yield point
