"""One HTTP session to the API server: JSON in, JSON out, one error class.

Reads are repeated through a short outage. A write is sent once: whether it was committed is for the next look to say,
and a request that the server refused to start (429) is repeated, since nothing of it was done.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Self

import aiohttp
import orjson

from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.api.errors import TrainmasterError
from trainmaster.ports.cluster import NAMESPACE_TERMINATING

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Load = Callable[[], Connection]

REQUEST_SECONDS: Final = 30
"""One request; the API server itself gives up after 60."""
CONNECT_SECONDS: Final = 5
READ_TRIES: Final = 4
"""Tries of a read, over about two seconds: a restart of one API server among several."""
READ_PAUSE_SECONDS: Final = 0.25
MAX_RETRY_AFTER_SECONDS: Final = 30
"""A longer Retry-After is the queue's business: its worker must be free for other keys meanwhile."""
BUSY_TRIES: Final = 3
CONNECTIONS: Final = 32
"""Sockets: eight workers with two requests each, and the watches."""
PAGE: Final = 500
"""Objects in one page of a list: memory stays flat, and a page takes the server some 10 ms."""
WATCH_SECONDS: Final = 300
"""After so long the server ends a watch and we open another: cheap insurance against dead streams."""
QUIET_SECONDS: Final = 75
"""A watch that is silent for longer is dead: the server sends a bookmark every minute."""

SILENT: Final = "Silent"
"""Reason of the error of a watch that was opened and then said nothing."""
MERGE_PATCH: Final = "application/merge-patch+json"
JSON: Final = "application/json"
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
GONE: Final = 410
TOO_MANY: Final = 429
SERVER_ERRORS: Final = frozenset({500, 502, 503, 504})


class ApiError(TrainmasterError):
    """The API server refused; `status` is HTTP's, `reason` Kubernetes'; 0 and `Unreachable` when it did not answer."""

    def __init__(self, *, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class WatchExpiredError(TrainmasterError):
    """The version to watch from is gone: list again."""


Observer = Callable[[str, int, float], None]
"""Told of each answered request: HTTP method, status (0: none), seconds."""


class ApiClient:
    """Requests to one API server. Use as an async context manager; belongs to one event loop."""

    def __init__(
        self, load: Load, *, on_request: Observer | None = None, may_write: Callable[[], None] | None = None
    ) -> None:
        """`may_write` is called before each write; what it raises keeps the write from being sent."""
        self._load = load
        self._on_request = on_request
        self._may_write = may_write
        self._connection = load()
        self._headers = self._connection.headers()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = self._connection.ssl_context()
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context if context is not None else True)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": "trainmaster", "Accept": JSON},
        )
        # Else aiohttp sends a PUT or DELETE again when the connection breaks, and nobody asks `may_write` once more.
        self._session._retry_connection = False  # noqa: SLF001 - it has no public name
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def server(self) -> str:
        """Base URL."""
        return self._connection.server

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        """Read. Raises ApiError."""
        for tries_left in range(READ_TRIES - 1, -1, -1):
            try:
                return await self._send("GET", path, params=params)
            except ApiError as error:
                if not tries_left or (error.status and error.status not in SERVER_ERRORS):
                    raise
            await asyncio.sleep(READ_PAUSE_SECONDS * (READ_TRIES - tries_left) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        raise AssertionError("the last try either returns or raises")

    async def find(self, path: str) -> Json | None:
        """Read what may not be there; None: it is not. Raises ApiError."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def post(self, path: str, body: Json) -> Json:
        """Create. Raises ApiError: 409 AlreadyExists where the name is taken."""
        return await self._send("POST", path, body=body)

    async def put(self, path: str, body: Json) -> Json:
        """Replace. Raises ApiError: 409 Conflict where the body's resourceVersion is not the stored one."""
        return await self._send("PUT", path, body=body)

    async def patch(self, path: str, body: Json) -> Json:
        """Merge-patch. Raises ApiError: 409 Conflict where the body's resourceVersion is not the stored one."""
        return await self._send("PATCH", path, body=body, content_type=MERGE_PATCH)

    async def delete(self, path: str, body: Json) -> Json:
        """Delete, with DeleteOptions. Raises ApiError: 409 Conflict where a precondition does not hold."""
        return await self._send("DELETE", path, body=body)

    async def pages(self, path: str, *, selector: str = "") -> AsyncIterator[tuple[list[Json], str]]:
        """Pages of a list, each with the list's resourceVersion."""
        params = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self.get(path, params)
            meta = page["metadata"]
            yield page.get("items") or [], meta["resourceVersion"]
            if not meta.get("continue"):
                return
            params["continue"] = meta["continue"]

    async def watch(self, path: str, *, version: str, selector: str = "") -> AsyncIterator[tuple[str, Json]]:
        """Events after a version: type and object; ends when the server ends it.

        Raises:
            WatchExpiredError: The version is too old.
            ApiError: Refused, or silent for too long.
        """
        params = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version}
        params |= {"timeoutSeconds": str(WATCH_SECONDS)} | ({"labelSelector": selector} if selector else {})
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=QUIET_SECONDS)
        try:
            async with self._open.get(
                self.server + path, params=params, headers=self._headers, timeout=timeout, read_bufsize=2**20
            ) as response:
                if response.status >= 400:
                    raise self._refusal(response, await response.read())
                async for line in _lines(response.content):
                    kind, item = _event(line)
                    if kind == "ERROR":
                        raise _watch_error(item)
                    yield kind, item
        except aiohttp.SocketTimeoutError as error:
            message = f"WATCH {path}: nothing was heard for {QUIET_SECONDS} s"
            raise ApiError(status=0, reason=SILENT, message=message) from error
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise _unreachable("WATCH", path, error) from error

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client as an async context manager")
        return self._session

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> Json:
        for tries_left in range(BUSY_TRIES - 1, -1, -1):
            try:
                return await self._send_once(method, path, body=body, params=params, content_type=content_type)
            except ApiError as error:
                refreshed = error.status == UNAUTHORIZED and self._renew()
                pause = error.retry_after if error.status == TOO_MANY else None
                if not tries_left or not (refreshed or (pause is not None and pause <= MAX_RETRY_AFTER_SECONDS)):
                    raise
            if not refreshed:
                await asyncio.sleep(pause or 0)
        raise AssertionError("the last try either returns or raises")

    async def _send_once(
        self, method: str, path: str, *, body: Json | None, params: Mapping[str, str] | None, content_type: str
    ) -> Json:
        if self._may_write is not None and method != "GET":
            self._may_write()
        started = time.monotonic()
        data = None if body is None else orjson.dumps(body)
        headers = self._headers if data is None else self._headers | {"Content-Type": content_type}
        status = 0
        try:
            async with self._open.request(
                method, self.server + path, data=data, params=params, headers=headers
            ) as response:
                status, raw = response.status, await response.read()
                if status >= 400:
                    raise self._refusal(response, raw)
                parsed: Json = orjson.loads(raw)
                return parsed
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise _unreachable(method, path, error) from error
        finally:
            if self._on_request is not None:
                self._on_request(method, status, time.monotonic() - started)

    def _renew(self) -> bool:
        """Read the credentials again; whether they are others now."""
        try:
            connection = self._load()
        except TrainmasterError as error:
            logger.warning("the API server refuses our credentials, and no others can be read: %s", error)
            return False
        before, self._headers = self._headers, connection.headers()
        return self._headers != before

    def _refusal(self, response: aiohttp.ClientResponse, raw: bytes) -> ApiError:
        try:
            said = orjson.loads(raw)
            reason, message = str(said.get("reason") or ""), str(said.get("message") or "")
            causes = {cause.get("reason") for cause in (said.get("details") or {}).get("causes") or []}
            # Said to be Forbidden, which is no matter of permissions here.
            reason = NAMESPACE_TERMINATING if NAMESPACE_TERMINATING in causes else reason
        except (orjson.JSONDecodeError, AttributeError):
            # A proxy's page, or that of a path that is not served: it has lines, and begins with the status once more.
            text = " ".join(raw[:200].decode(errors="replace").split())
            reason, message = "", text.removeprefix(f"{response.status} ")
        after = response.headers.get("Retry-After", "")
        return ApiError(
            status=response.status,
            reason=reason or str(response.reason or response.status),
            message=f"{response.method} {response.url.path}: {response.status} {message}",
            retry_after=float(after) if after.isdigit() else None,
        )


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: an object may be larger than a reader's line limit."""
    rest = bytearray()
    async for chunk in content.iter_any():
        rest += chunk
        if b"\n" not in chunk:
            continue
        *whole, tail = bytes(rest).split(b"\n")
        rest = bytearray(tail)
        for line in whole:
            yield line


def _event(line: bytes) -> tuple[str, Json]:
    """Type and object of a line of a watch. Raises JSONDecodeError for what is none, whoever wrote it."""
    event = orjson.loads(line)
    match event:
        case {"type": str(kind), "object": dict(item)}:
            return kind, item
    message = "no event of a watch"
    raise orjson.JSONDecodeError(message, line[:200].decode(errors="replace"), 0)


def _watch_error(status: Json) -> TrainmasterError:
    code, message = int(status.get("code") or 0), str(status.get("message") or "")
    if code == GONE:
        return WatchExpiredError(message)
    return ApiError(status=code, reason=str(status.get("reason") or ""), message=f"watch: {code} {message}")


def _unreachable(method: str, path: str, error: Exception) -> ApiError:
    said = str(error) or type(error).__name__
    message = f"{method} {path}: the API server does not answer: {said}"
    return ApiError(status=0, reason="Unreachable", message=message)
