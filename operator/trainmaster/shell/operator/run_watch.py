"""kopf as the informer of our kind: it lists, watches and survives; what it sees only goes into the store.

kopf has a thread and a loop of its own: at its end it cancels every task of its loop that it did not start. No create
or update handlers (they keep their progress in annotations), no index (start-up grows with the square of the objects),
no daemons or timers (a finalizer on every object): `on.event` leaves no trace on an object.

kopf tells neither when its first list is done nor, after a gap, what is missing from a later one. So all runs are
listed plainly before it starts, and every `LIST_SECONDS` after.

kopf looks for the kind once, and a watch of it that is refused (credentials, permissions, many errors in a row) ends
for good while kopf goes on without it. So it is started only when the kind can be listed, and watched itself: without
a living watch of each namespace the process is deaf, and ends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import kopf

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import (
    CONNECT_SECONDS,
    PAGE,
    QUIET_SECONDS,
    REQUEST_SECONDS,
    WATCH_SECONDS,
    ApiClient,
    ApiError,
)
from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.adapters.kubernetes.paths import RUNS
from trainmaster.adapters.kubernetes.store import RunStore
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.labels import GROUP, VERSION

logger = logging.getLogger(__name__)

Json = dict[str, Any]

STOP_SECONDS: Final = 3
"""How long kopf's end is waited for; it has nothing to lose, and its thread ends with the process."""
RETRY_SECONDS: Final = 5
"""Between two looks at a kind that cannot be listed yet."""
LOOK_SECONDS: Final = 1
"""Between two looks at kopf's watches."""
START_SECONDS: Final = 120
"""Until kopf must watch: it asks for a page of discovery first, on a busy machine for a while."""
LIST_SECONDS: Final = 600
"""Between two whole lists beside kopf's watch: what was deleted in a gap of it, or what a restored backup has changed,
is known then; 5,000 runs cost half a second of CPU."""
WATCHER: Final = "watcher for "
"""How kopf names the task of a watch."""

NOT_FOUND: Final = 404
NOT_SERVED: Final = f"is {GROUP}/{VERSION} there? apply what `trainmaster crds` prints"
NOT_LISTED: Final = "`trainmaster selftest --cluster` says what is missing"


class WatchEndedError(TrainmasterError):
    """kopf has ended, or its watches have: nobody would tell us of runs any more."""


class RunWatch:
    """Feeds a store with TrainingRuns, from a thread of its own."""

    def __init__(
        self, store: RunStore, *, client: ApiClient, load: Callable[[], Connection], namespaces: Sequence[str]
    ) -> None:
        self._store = store
        self._client = client
        self._load = load
        self._namespaces = namespaces
        self._stop = threading.Event()
        self.listed = asyncio.Event()
        """All runs have been listed at least once."""
        self.missing = "TrainingRuns are not watched yet"
        """Why runs are not seen; empty: they are."""

    async def run(self) -> None:
        """Follow until cancelled. Raises WatchEndedError when kopf or one of its watches ends for any other reason."""
        await self._list_until_done()
        loop, theirs = asyncio.get_running_loop(), asyncio.new_event_loop()
        ended: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=self._serve, args=(theirs, loop, ended), name="kopf", daemon=True)
        thread.start()
        try:
            await self._watch_over(theirs, ended)
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join, STOP_SECONDS)

    async def _list_until_done(self) -> None:
        """Return when all runs were listed once; what is missing until then is said once."""
        while not self.listed.is_set():
            try:
                await self._list()
            except ApiError as error:
                hint = NOT_SERVED if error.status == NOT_FOUND else NOT_LISTED
                missing = f"{error}; {hint}"
                if missing != self.missing:
                    logger.warning("no TrainingRun can be seen: %s", missing)
                self.missing = missing
                await asyncio.sleep(error.retry_after or RETRY_SECONDS)

    async def _list(self) -> None:
        """Read all runs. kopf tells neither when its list is done nor what is missing from it."""
        for namespace in self._namespaces or ("",):
            asked, listed = self._store.moment, set[str]()
            path = paths.everywhere(paths.OURS, RUNS, namespace=namespace)
            async for items, _ in self._client.pages(path):
                for item in items:
                    self._store.put(item, asked=asked)
                    listed.add(item["metadata"]["uid"])
                await asyncio.sleep(0)
            self._store.retain(frozenset(listed), asked=asked, namespace=namespace)
        self.listed.set()

    async def _watch_over(self, theirs: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        """Return never; raise WatchEndedError when kopf is no use any more."""
        wanted, patience = len(self._namespaces) or 1, START_SECONDS
        again = time.monotonic() + LIST_SECONDS
        while True:
            if time.monotonic() >= again:
                again = time.monotonic() + LIST_SECONDS
                await self._list_again()
            done, _ = await asyncio.wait([ended], timeout=LOOK_SECONDS)
            if done:
                raise WatchEndedError("kopf has ended by itself; its log lines above say why")
            if _watches(theirs) >= wanted:
                patience, self.missing = 0, ""
            elif patience <= 0:
                message = "kopf does not watch TrainingRuns any more; its log lines above say why"
                raise WatchEndedError(message)
            else:
                patience -= LOOK_SECONDS

    async def _list_again(self) -> None:
        try:
            await self._list()
        except ApiError as error:
            logger.warning("the regular list of TrainingRuns has failed: %s", error)

    def _serve(
        self, theirs: asyncio.AbstractEventLoop, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]
    ) -> None:
        try:
            asyncio.set_event_loop(theirs)
            kopf.run(
                loop=theirs,
                registry=self._registry(loop),
                settings=_settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=self._stop,
            )
        except Exception as error:  # noqa: BLE001 - kopf's own: a thread has nobody above it, the future tells the process
            logger.error("kopf has failed: %r", error)  # noqa: TRY400 - its place in kopf's code helps nobody
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
            # Of the first list kopf says None, as of every later one. When it has asked is not known; what it takes
            # back too far, the watch that follows tells again.
            self._store.put(item, asked=self._store.moment if kind is None else None)


def _as_coroutine(function: Callable[..., None]) -> Callable[..., Any]:
    """A synchronous handler would run in a thread of a pool, at three times the cost."""

    async def handler(**kwargs: object) -> None:
        function(**kwargs)

    return handler


def _watches(loop: asyncio.AbstractEventLoop) -> int:
    """How many watches of kopf live."""
    return sum(not task.done() and task.get_name().startswith(WATCHER) for task in asyncio.all_tasks(loop))


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps nothing: only change handlers compare, and there are none. kopf would copy each object for them."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002 - kopf's words
        """Nothing of an object is compared."""
        return {}

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 - kopf's words
        """Nothing was kept."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is kept."""


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = NoDiffBase()
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
