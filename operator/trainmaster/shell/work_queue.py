"""A keyed work queue: wake-ups of one key coalesce, one reconcile per key is in flight, later wake-ups are kept.

Handlers, reports and timers only wake keys; all work happens in the workers. Keys that are due wait in line by
namespace, and the namespaces take turns: a flood in one of them holds up nobody else. Nor does one whose requests hang
(a webhook that never answers): of four workers or more it may keep all busy but a quarter. Two such namespaces may
still keep all of them. Within a namespace the longest overdue key comes first. Every step takes O(log n) of the keys
that wait, and O(n) of the namespaces that are at that limit.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.ports.clock import Clock

logger = logging.getLogger(__name__)

RETRY_FIRST_SECONDS = 1
RETRY_MAX_SECONDS = 60
"""Back-off of a key whose reconcile fails: quick enough for a blip, slow enough for an outage."""

FREE_SHARE = 4
"""One worker of so many is kept free for other namespaces than the busiest."""

Reconcile = Callable[[Key], Awaitable[datetime | None]]


class QueueObserver(Protocol):
    """Told what happens to keys; all times are seconds."""

    def added(self) -> None:
        """A key was woken that did not wait yet."""

    def started(self, key: Key, waited: float) -> None:
        """A key's reconcile begins; it was due for so long."""

    def ended(self, key: Key, *, failed: bool) -> None:
        """A key's reconcile has ended."""


class _Ignored:
    """Nobody wants to know."""

    def added(self) -> None:
        """Nothing."""

    def started(self, key: Key, waited: float) -> None:
        """Nothing."""

    def ended(self, key: Key, *, failed: bool) -> None:
        """Nothing."""


class WorkQueue:
    """Calls `reconcile(key)` for woken keys; its return value wakes the key again."""

    def __init__(self, *, clock: Clock, reconcile: Reconcile, observer: QueueObserver | None = None) -> None:
        self._clock = clock
        self._reconcile = reconcile
        self._observer: QueueObserver = observer or _Ignored()
        self._due: dict[Key, datetime] = {}
        """When each waiting key is due; what the heaps hold beside is stale."""
        self._later: list[tuple[datetime, Key]] = []
        self._ready: OrderedDict[str, list[tuple[datetime, Key]]] = OrderedDict()
        """Due keys by namespace, the next namespace first."""
        self._in_flight: set[Key] = set()
        self._busy: Counter[str] = Counter()
        """Reconciles in flight by namespace."""
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait, due or not."""
        return len(self._due)

    def wake(self, key: Key, *, at: datetime | None = None) -> None:
        """Reconcile a key now or at a time; an earlier wake-up of it stands."""
        at = at or self._clock.now()
        known = self._due.get(key)
        if known is not None and known <= at:
            return
        if known is None:
            self._observer.added()
        self._due[key] = at
        if key not in self._in_flight:
            heapq.heappush(self._later, (at, key))
            self._changed.set()

    async def run(self, *, workers: int = 1) -> None:
        """Work until cancelled."""
        share = workers - workers // FREE_SHARE
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                self._promote()
                while len(self._in_flight) < workers and (key := self._take(share)) is not None:
                    group.create_task(self._work(key))
                await self._until_changed()

    async def _until_changed(self) -> None:
        """Wait for a wake-up, a free worker, or the next key to be due."""
        delay = (self._later[0][0] - self._clock.now()).total_seconds() if self._later else None
        try:
            async with asyncio.timeout(delay):
                await self._changed.wait()
        except TimeoutError:
            return

    def _promote(self) -> None:
        """Put what is due by now into its namespace's line."""
        now = self._clock.now()
        while self._later and self._later[0][0] <= now:
            at, key = heapq.heappop(self._later)
            if self._due.get(key) == at and key not in self._in_flight:
                heapq.heappush(self._ready.setdefault(key.namespace, []), (at, key))

    def _take(self, share: int) -> Key | None:
        """The next due key of a namespace that has fewer than `share` in flight; it goes to the end of the line."""
        while (namespace := next((name for name in self._ready if self._busy[name] < share), None)) is not None:
            line = self._ready[namespace]
            key = self._pop(line)
            if line:
                self._ready.move_to_end(namespace)
            else:
                del self._ready[namespace]
            if key is not None:
                return key
        return None

    def _pop(self, line: list[tuple[datetime, Key]]) -> Key | None:
        """The first key of a namespace's line that still waits; what it has left behind is no turn of its namespace."""
        while line:
            at, key = heapq.heappop(line)
            # A key that was woken twice, or for another time since, has left entries behind.
            if self._due.get(key) == at and key not in self._in_flight:
                del self._due[key]
                self._in_flight.add(key)
                self._busy[key.namespace] += 1
                self._observer.started(key, (self._clock.now() - at).total_seconds())
                return key
        return None

    async def _work(self, key: Key) -> None:
        failed = True
        try:
            again = await self._reconcile_safely(key)
            failed = key in self._failures
        finally:
            self._in_flight.discard(key)
            self._busy[key.namespace] -= 1
            if not self._busy[key.namespace]:
                del self._busy[key.namespace]
            self._observer.ended(key, failed=failed)
            self._changed.set()
        if key in self._due:
            heapq.heappush(self._later, (self._due[key], key))
        if again is not None:
            self.wake(key, at=again)

    async def _reconcile_safely(self, key: Key) -> datetime | None:
        try:
            again = await self._reconcile(key)
        except Exception as error:  # one run's trouble must not stop the others: it is logged and tried again
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(RETRY_MAX_SECONDS, RETRY_FIRST_SECONDS * 2 ** min(failures - 1, 10))
            # An error of ours says all there is to say; any other is a bug, and its place matters.
            trace, told = (None, f": {error}") if isinstance(error, TrainmasterError) else (error, "")
            level = logging.WARNING if trace is None else logging.ERROR
            message = "reconciling %s failed (%d in a row)%s; again in %d s"
            logger.log(level, message, key, failures, told, delay, exc_info=trace)
            return self._clock.now() + timedelta(seconds=delay)
        self._failures.pop(key, None)
        return again
