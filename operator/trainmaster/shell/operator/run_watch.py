"""kopf as the informer of our kind: it lists, watches and survives; what it sees only goes into the store.

kopf has a thread and a loop of its own: at its end it cancels every task of its loop that it did not start. No create
or update handlers (they keep their progress in annotations), no index (start-up grows with the square of the objects),
no daemons or timers (a finalizer on every object): `on.event` leaves no trace on an object.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import kopf

from trainmaster.adapters.kubernetes.client import CONNECT_SECONDS, PAGE, QUIET_SECONDS, REQUEST_SECONDS, WATCH_SECONDS
from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.adapters.kubernetes.paths import RUNS
from trainmaster.adapters.kubernetes.store import RunStore
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.labels import GROUP, VERSION

logger = logging.getLogger(__name__)

Json = dict[str, Any]

STOP_SECONDS: Final = 8
"""kopf waits up to 5 s for its own tasks."""


class WatchEndedError(TrainmasterError):
    """kopf has ended by itself: nobody would tell us of runs any more."""


class RunWatch:
    """Feeds a store with TrainingRuns, from a thread of its own."""

    def __init__(self, store: RunStore, *, load: Callable[[], Connection], namespaces: Sequence[str]) -> None:
        self._store = store
        self._load = load
        self._namespaces = namespaces
        self._stop = threading.Event()
        self._ended: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Follow until cancelled. Raises WatchEndedError when kopf ends for any other reason."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=self._serve, args=(loop, ended), name="kopf", daemon=True)
        thread.start()
        try:
            await asyncio.shield(ended)
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join, STOP_SECONDS)
        raise WatchEndedError("kopf has ended by itself; see its log lines above")

    def _serve(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        try:
            kopf.run(
                registry=self._registry(loop),
                settings=_settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=self._stop,
            )
        except Exception:
            # A thread has nobody above it: the future tells the process.
            logger.exception("kopf has failed")
        finally:
            loop.call_soon_threadsafe(_resolve, ended)

    def _registry(self, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        def login(**_: object) -> kopf.ConnectionInfo:
            return self._load().info

        def event(event: Json, **_: object) -> None:
            loop.call_soon_threadsafe(self._take, event["type"], event["object"])

        kopf.on.login(registry=registry)(login)
        kopf.on.event(GROUP, VERSION, RUNS, registry=registry)(_as_coroutine(event))
        return registry

    def _take(self, kind: str | None, item: Json) -> None:
        if kind == "DELETED":
            self._store.remove(item)
        else:
            # Of the first list kopf says None, as of every later one.
            self._store.put(item, listed=kind is None)


def _as_coroutine(function: Callable[..., None]) -> Callable[..., Any]:
    """A synchronous handler would run in a thread of a pool, at three times the cost."""

    async def handler(**kwargs: object) -> None:
        function(**kwargs)

    return handler


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + CONNECT_SECONDS
    settings.watching.connect_timeout = CONNECT_SECONDS
    settings.watching.inactivity_timeout = QUIET_SECONDS
    settings.watching.chunk_size = PAGE
    settings.networking.request_timeout = REQUEST_SECONDS
    return settings
