"""kopf's HTTP session: its lists are answered empty, and its watches begin where a list of ours was read.

kopf watches only after it has listed, and hands each listed object through a queue and a task of its own: a start with
5,000 runs cost 2.5 s of CPU and 210 MiB more so than without (docs/decisions/0011). All that it needs of a list is the
version to watch from. So when it lists our kind, we list it in our own way, once; what kopf asks is made to match
nothing; and the watch that follows is opened at the version of our list, so that nothing falls between the two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
import kopf
from yarl import URL

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.connection import Connection

NOTHING: Final = {"labelSelector": "trainmaster.io/none", "resourceVersion": "0"}
"""A list from the API server's cache of what has a label that nothing has."""

ListAll = Callable[[str], Awaitable[str]]
"""Reads all objects below a path; the version of that list. Raises OSError when it cannot."""


class WatchStarts:
    """A middleware of aiohttp's client: see the module."""

    def __init__(self, *, plural: str, list_all: ListAll) -> None:
        """`list_all` is awaited in kopf's loop."""
        self._suffix = f"/{plural}"
        self._list_all = list_all
        self._listed: dict[str, str] = {}
        """By path: the version of our list, until kopf has opened a watch."""
        self._starts: dict[str, tuple[str, str]] = {}
        """By path: the version that kopf's list has told it, and that of ours, which it means."""

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request of kopf."""
        # An API server may be behind a prefix.
        _, ours, rest = request.url.path.partition(paths.OURS)
        path = ours + rest
        if request.method == "GET" and path.startswith(paths.OURS) and path.endswith(self._suffix):
            watches = "watch" in request.url.query
            request.url = self._watch(path, request.url) if watches else await self._list(path, request.url)
        return await handler(request)

    async def _list(self, path: str, url: URL) -> URL:
        try:
            self._listed[path] = await self._list_all(path)
        except OSError as error:
            message = f"no list of {path}: {error}"
            raise aiohttp.ClientConnectionError(message) from error
        return url.with_query(NOTHING)

    def _watch(self, path: str, url: URL) -> URL:
        asked = url.query.get("resourceVersion", "")
        if path in self._listed:
            self._starts[path] = asked, self._listed.pop(path)
        told, meant = self._starts.get(path, ("", ""))
        # It asks for the same version again when the first watch could not be opened or has told nothing.
        return url.update_query(resourceVersion=meant) if asked == told else url


def kopf_session(connection: Connection, starts: WatchStarts) -> kopf.AiohttpSession:
    """A session for kopf. Call it in kopf's loop."""
    context = connection.ssl_context()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True),
        headers=connection.headers(),
        proxy=connection.info.proxy_url,
        middlewares=(starts,),
    )
    return kopf.AiohttpSession(
        server=connection.info.server, default_namespace=connection.info.default_namespace, aiohttp_session=session
    )
