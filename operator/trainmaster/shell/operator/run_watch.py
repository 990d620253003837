"""kopf as the informer of our kind: it lists, watches and survives; what it sees only goes into the store.

kopf has a thread and a loop of its own: at its end it cancels every task of its loop that it did not start. No create
or update handlers (they keep their progress in annotations), no index (start-up grows with the square of the objects),
no daemons or timers (a finalizer on every object): `on.event` leaves no trace on an object.

kopf tells neither when its first list is done nor, after a gap, what is missing from a later one, and both cost it
much. So we list in its stead (adapters/kubernetes/kopf_session.py): before it starts, and whenever it would.

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
import uvloop

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import (
    CONNECT_SECONDS,
    NOT_FOUND,
    PAGE,
    QUIET_SECONDS,
    REQUEST_SECONDS,
    WATCH_SECONDS,
    ApiClient,
    ApiError,
)
from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.adapters.kubernetes.kopf_session import WatchStarts, kopf_session
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
"""Between two whole lists beside kopf's watch: what a restored backup has changed, of which a watch says nothing, is
known then; 5,000 runs cost half a second of CPU."""
WATCHER: Final = "watcher for "
"""How kopf names the task of a watch."""

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
        self._read_at: dict[str, str] = {}
        """By path: the version of a list that no watch has begun at."""
        self._known: kopf.ConnectionInfo | None = None
        """The credentials that kopf has: it asks for others only when the server refuses these."""
        self.listed = asyncio.Event()
        """All runs have been listed at least once."""
        self.missing = "TrainingRuns are not watched yet"
        """Why runs are not seen; empty: they are."""

    async def run(self) -> None:
        """Follow until cancelled. Raises WatchEndedError when kopf or one of its watches ends for any other reason."""
        await self._list_until_done()
        loop, theirs = asyncio.get_running_loop(), uvloop.new_event_loop()
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
        """Read all runs."""
        for namespace in self._namespaces or ("",):
            path = paths.everywhere(paths.OURS, RUNS, namespace=namespace)
            self._read_at[path] = await self._list_path(path, namespace=namespace)
        self.listed.set()

    async def _list_path(self, path: str, *, namespace: str) -> str:
        """Read the runs of a namespace, or of all; the version of the list."""
        asked, listed, version = self._store.moment, set[str](), ""
        async for items, read_at in self._client.pages(path):
            version = read_at
            for item in items:
                self._store.put(item, asked=asked)
                listed.add(item["metadata"]["uid"])
            await asyncio.sleep(0)
        self._store.retain(frozenset(listed), asked=asked, namespace=namespace)
        return version

    async def _list_for_kopf(self, path: str) -> str:
        """The version to watch a path from: of the list that was read before kopf began, or of another one."""
        version = self._read_at.pop(path, "")
        namespace = next((n for n in self._namespaces if path == paths.everywhere(paths.OURS, RUNS, namespace=n)), "")
        return version or await self._list_path(path, namespace=namespace)

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
            # kopf watches: a later list of it must not begin at a version as old as this one is by then.
            self._read_at.clear()
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

        async def list_all(path: str) -> str:
            listing = asyncio.run_coroutine_threadsafe(self._list_for_kopf(path), loop)
            try:
                return await asyncio.wrap_future(listing)
            except ApiError as error:
                raise ConnectionError(str(error)) from error

        starts = WatchStarts(plural=RUNS, list_all=list_all)

        async def login(**_: object) -> kopf.AiohttpSession:
            return kopf_session(self._other_connection(), starts)

        def event(event: Json, **_: object) -> None:
            loop.call_soon_threadsafe(self._take, event["type"], event["object"])

        kopf.on.login(registry=registry)(login)
        kopf.on.event(GROUP, VERSION, RUNS, registry=registry)(_as_coroutine(event))
        return registry

    def _other_connection(self) -> Connection:
        """Credentials that kopf has not had. Raises kopf.LoginError: it asks again since the server refused these."""
        connection = self._load()
        if connection.info == self._known:
            message = "the API server refuses our credentials, and there are no others"
            raise kopf.LoginError(message)
        self._known = connection.info
        return connection

    def _take(self, kind: str | None, item: Json) -> None:
        if kind == "DELETED":
            self._store.remove(item)
        else:
            self._store.put(item)


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
