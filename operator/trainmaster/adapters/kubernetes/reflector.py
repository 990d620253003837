"""A plain informer: list in pages, then watch; whatever goes wrong, the cache catches up and says how old it is."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any, Final, Protocol

from trainmaster.adapters.kubernetes.client import SILENT, ApiClient, ApiError, WatchExpiredError
from trainmaster.adapters.kubernetes.repetitions import Repetitions

logger = logging.getLogger(__name__)

RETRY_FIRST_SECONDS: Final = 0.2
RETRY_MAX_SECONDS: Final = 15.0
"""Back-off of a list or watch that fails: a server that comes back must not meet all its clients at once."""
INITIALIZING: Final = 429
"""A kind whose definition is fresh answers so for a second or two."""
REFUSALS: Final = frozenset({401, 403, 404})
"""Answers that time alone does not mend."""
ADVICE: Final = "`trainmaster selftest --cluster` says what is missing"


class Cache(Protocol):
    """What a reflector keeps up to date. Objects are parsed JSON."""

    def put(self, item: dict[str, Any], *, listed: bool) -> None:
        """Take an object: a listed one is what the server has, a watched one may be older than a known one."""

    def remove(self, item: dict[str, Any]) -> None:
        """Forget an object."""

    def retain(self, uids: frozenset[str]) -> None:
        """Forget all objects but these: a complete list has been read."""


class Reflector:
    """Keeps one cache equal to what the API server has of one kind."""

    def __init__(self, client: ApiClient, *, path: str, cache: Cache, selector: str = "") -> None:
        self._client = client
        self.path = path
        self._cache = cache
        self._selector = selector
        self._version = ""
        """Where to watch from; empty: only a list can say."""
        self.synced = asyncio.Event()
        """A whole list has been read at least once."""
        self._trouble = ""
        """What went wrong last."""
        self._repetitions = Repetitions()

    @property
    def missing(self) -> str:
        """Why the cache says nothing yet; empty: it does."""
        why = f": {self._trouble}" if self._trouble else ""
        return "" if self.synced.is_set() else f"{self.path} is not listed yet{why}"

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                failures = 0
            except WatchExpiredError as error:
                logger.info("%s: %s; listing again", self.path, error)
                self._version = ""
            except ApiError as error:
                # A good list is no proof of good times: the watch behind it may be refused for ever.
                failures = failures + 1 if time.monotonic() - begun < RETRY_MAX_SECONDS else 1
                await self._pause(error, failures)

    async def _pause(self, error: ApiError, failures: int) -> None:
        quiet = error.status == INITIALIZING and not self.synced.is_set()
        self._trouble = str(error)
        advice = f"; {ADVICE}" if error.status in REFUSALS else ""
        if text := self._repetitions.text(f"{error}; trying again{advice}"):
            logger.log(logging.DEBUG if quiet else logging.WARNING, "%s", text)
        if error.status or error.reason == SILENT:
            # What the server has now, only a list can say: it refused, or we watch from a version that lies ahead of
            # it (a backup was restored), and of which it would be silent for ever.
            self._version = ""
        delay = min(RETRY_MAX_SECONDS, RETRY_FIRST_SECONDS * 2 ** min(failures - 1, 10))
        await asyncio.sleep(max(delay, error.retry_after or 0) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    async def _list(self) -> None:
        """Read all objects; a consistent read, so that it may correct newer-looking ones (a restored backup)."""
        uids: set[str] = set()
        version = ""
        async for items, read_at in self._client.pages(self.path, selector=self._selector):
            version = read_at
            for item in items:
                uids.add(item["metadata"]["uid"])
                self._put(item, listed=True)
            await asyncio.sleep(0)
        self._cache.retain(frozenset(uids))
        self._version = version
        self.synced.set()

    async def _watch(self) -> None:
        heard = False
        async for kind, item in self._client.watch(self.path, version=self._version, selector=self._selector):
            heard = True
            if kind == "DELETED":
                self._cache.remove(item)
            elif kind in {"ADDED", "MODIFIED"}:
                self._put(item, listed=False)
            self._version = item["metadata"]["resourceVersion"]
        if not heard:
            # A server sends a bookmark before it ends a watch: whoever does not, must not be asked again at once.
            message = f"{self.path}: the watch has ended without a word"
            raise ApiError(status=0, reason=SILENT, message=message)

    def _put(self, item: dict[str, Any], *, listed: bool) -> None:
        """Hand an object to the cache; one that is not as the API says it is must not blind us for all others."""
        try:
            self._cache.put(item, listed=listed)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            meta = item.get("metadata") or {}
            logger.error("%s: %s/%s is skipped: %r", self.path, meta.get("namespace"), meta.get("name"), error)  # noqa: TRY400 - its place in our code helps nobody
