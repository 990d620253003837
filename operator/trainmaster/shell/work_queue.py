"""A keyed work queue: wake-ups of one key coalesce, one reconcile per key is in flight, later wake-ups are kept.

Handlers, reports and timers only wake keys; all work happens in the workers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from trainmaster.api.objects import Key
from trainmaster.ports.clock import Clock

logger = logging.getLogger(__name__)

RETRY_FIRST_SECONDS = 1
RETRY_MAX_SECONDS = 60
"""Back-off of a key whose reconcile fails: quick enough for a blip, slow enough for an outage."""

Reconcile = Callable[[Key], Awaitable[datetime | None]]


class WorkQueue:
    """Calls `reconcile(key)` for woken keys, in order of when they are due; its return value wakes the key again."""

    def __init__(self, *, clock: Clock, reconcile: Reconcile) -> None:
        self._clock = clock
        self._reconcile = reconcile
        self._due: dict[Key, datetime] = {}
        self._in_flight: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()

    def wake(self, key: Key, *, at: datetime | None = None) -> None:
        """Reconcile a key now or at a time; an earlier wake-up of it stands."""
        at = at or self._clock.now()
        if key not in self._due or at < self._due[key]:
            self._due[key] = at
            self._changed.set()

    async def run(self, *, workers: int = 1) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._in_flight.add(key)
            try:
                again = await self._reconcile_safely(key)
            finally:
                self._in_flight.discard(key)
                self._changed.set()
            if again is not None:
                self.wake(key, at=again)

    async def _reconcile_safely(self, key: Key) -> datetime | None:
        try:
            again = await self._reconcile(key)
        except Exception:  # one run's trouble must not stop the others: it is logged and tried again
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(RETRY_MAX_SECONDS, RETRY_FIRST_SECONDS * 2 ** min(failures - 1, 10))
            logger.exception("reconciling %s failed (%d in a row); again in %d s", key, failures, delay)
            return self._clock.now() + timedelta(seconds=delay)
        self._failures.pop(key, None)
        return again

    async def _next(self) -> Key:
        while True:
            self._changed.clear()
            now = self._clock.now()
            waiting = {key: at for key, at in self._due.items() if key not in self._in_flight}
            if waiting:
                key = min(waiting, key=lambda each: waiting[each])
                if waiting[key] <= now:
                    del self._due[key]
                    return key
            delay = (min(waiting.values()) - now).total_seconds() if waiting else None
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue
