"""Requests to one API server by the standard library alone: blocking, one connection each, JSON in and out.

No event loop, so that it works in a notebook, which runs one of its own; no pool, so that threads may share it and a
Ctrl-C leaves nothing half read. Reads are repeated through a short outage, a write is sent once.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

from trainmaster import __version__
from trainmaster.client.access import Access
from trainmaster.client.errors import ClientError, RefusedError, UnreachableError

Json = dict[str, Any]
Query = Mapping[str, str]

REQUEST_SECONDS: Final = 30.0
"""One request; the API server itself gives up after 60."""
LEAST_SECONDS: Final = 3.0
"""An answer is waited for at least so long, even where no time is left: an honest server needs some."""
SHARE_SECONDS: Final = 0.1
"""Of one address and of one step of a request, at least, however little time is left."""
FOREVER: Final = float("inf")
READ_TRIES: Final = 4
"""Tries of a read, over about two seconds: a restart of one API server among several."""
READ_PAUSE_SECONDS: Final = 0.25
BUSY_TRIES: Final = 3
"""Tries of a request that the server was too busy to begin (429): nothing of it was done."""
BUSY_MAX_SECONDS: Final = 30.0
"""A longer Retry-After is not waited for."""
PAGE: Final = 500
"""Objects in one page of a list: no answer grows without bounds."""
CHUNK: Final = 65_536
"""Bytes read from a stream at once, at most."""
KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A peer that is gone without a word is known after a minute, and a balancer between us forgets no quiet stream. By
name: not every system has all of them."""

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
HTTP_PORT: Final = 80
HTTPS_PORT: Final = 443
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
GONE: Final = 410
TOO_MANY: Final = 429
SERVER_ERRORS: Final = frozenset({500, 502, 503, 504})


class QuietError(ClientError):
    """A stream has said nothing for as long as one would listen; it can be opened again."""


class Stream:
    """The body of an answer that comes bit by bit. Close it, or use it in a `with`."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._rest = b""
        self._lines: list[bytes] = []
        self.cut = False
        """Whether it broke off; else the server has ended it by its rules."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._connection.close()

    def listen(self, seconds: float) -> None:
        """How long a line may be waited for from now on."""
        if self._connection.sock is not None:
            self._connection.sock.settimeout(max(seconds, 0.001))

    def line(self) -> bytes | None:
        """The next line without its end; None: the stream has ended, or it is `cut`: half a line is then dropped.

        Raises QuietError: nothing has come in time.
        """
        while not self._lines:
            chunk = self._read()
            if not chunk:
                last, self._rest = self._rest, b""
                return last or None
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            self._lines = whole[::-1]
        return self._lines.pop()

    def _read(self) -> bytes:
        try:
            return self._response.read1(CHUNK)
        except TimeoutError as error:
            raise QuietError("nothing was heard") from error
        except (OSError, http.client.HTTPException):
            self.cut, self._rest = True, b""
            return b""


class Transport:
    """Sends requests. Any thread may use it."""

    def __init__(self, load: Callable[[], Access]) -> None:
        self._load = load
        self.access = load()

    def get(self, path: str, query: Query | None = None, *, deadline: float = FOREVER) -> Json:
        """Read an object or a list; `deadline` (of the monotonic clock) holds for all tries together.

        Raises RefusedError, UnreachableError.
        """
        for number in range(1, READ_TRIES + 1):
            pause = READ_PAUSE_SECONDS * number * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
            try:
                return self._exchange("GET", path, query=query, deadline=deadline)
            except (UnreachableError, RefusedError) as error:
                stays = isinstance(error, RefusedError) and error.status not in SERVER_ERRORS
                if number == READ_TRIES or stays or time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
        raise AssertionError("the last try either returns or raises")

    def read_all(self, path: str, query: Query | None = None, *, deadline: float = FOREVER) -> tuple[list[Json], str]:
        """All objects of a list, read in pages, and its resourceVersion. Raises RefusedError, UnreachableError."""
        items: list[Json] = []
        asked = {**(query or {}), "limit": str(PAGE)}
        while True:
            page = self.get(path, asked, deadline=deadline)
            items += page.get("items") or []
            if not page["metadata"].get("continue"):
                return items, page["metadata"]["resourceVersion"]
            asked["continue"] = page["metadata"]["continue"]

    def send(self, method: str, path: str, body: Json, *, query: Query | None = None, content_type: str = JSON) -> Json:
        """Write, once. Raises RefusedError, UnreachableError: then nobody knows whether it was done."""
        return self._exchange(method, path, query=query, body=body, content_type=content_type)

    def open(self, path: str, query: Query, *, deadline: float = FOREVER) -> Stream:
        """Begin to read a stream. Raises RefusedError, UnreachableError."""
        connection, response = self._request("GET", path, query=query, deadline=deadline)
        return Stream(connection, response)

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Json | None = None,
        content_type: str = "",
        deadline: float = FOREVER,
    ) -> Json:
        data = None if body is None else json.dumps(body).encode()
        connection, response = self._request(
            method, path, query=query, data=data, content_type=content_type, deadline=deadline
        )
        try:
            parsed: Json = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _unreachable(method, path, error) from error
        finally:
            connection.close()
        return parsed

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None,
        data: bytes | None = None,
        content_type: str = "",
        deadline: float,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The answer of a request that was not refused; again with fresh credentials, or when the server has time."""
        target = f"{path}?{urlencode(query)}" if query else path
        for number in range(1, BUSY_TRIES + 1):
            connection, response = self._send_once(
                method, target, data=data, content_type=content_type, deadline=deadline
            )
            if response.status < 400:
                return connection, response
            refusal, pause = _refusal(method, path, response)
            connection.close()
            renewed = refusal.status == UNAUTHORIZED and number == 1 and self._renew()
            busy = refusal.status == TOO_MANY and pause <= min(BUSY_MAX_SECONDS, deadline - time.monotonic())
            if number == BUSY_TRIES or not (renewed or busy):
                raise refusal
            if busy:
                time.sleep(pause)
        raise AssertionError("the last try either returns or raises")

    def _send_once(
        self, method: str, target: str, *, data: bytes | None, content_type: str, deadline: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        access = self.access
        prefix = urlsplit(access.server).path
        headers = {"Accept": JSON, "User-Agent": f"trainmaster-client/{__version__}", **access.headers}
        headers |= {"Content-Type": content_type} if content_type else {}
        seconds = max(min(REQUEST_SECONDS, deadline - time.monotonic()), SHARE_SECONDS)
        connection = _connection(access, seconds=seconds)
        try:
            connection.request(method, prefix + target, body=data, headers=headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unreachable(method, access.server + target, error) from error

    def _renew(self) -> bool:
        """Read the credentials again; whether there are some."""
        self.access = self._load()
        return bool(self.access.headers) or self.access.tls is not None


class _PlainConnection(http.client.HTTPConnection):
    """Plain HTTP; connecting, by whatever address, and the first word of the answer together have `seconds`."""

    def __init__(self, host: str, port: int, *, seconds: float) -> None:
        super().__init__(host, port, timeout=seconds)
        self._until = time.monotonic() + seconds

    def connect(self) -> None:
        self.sock = _dial(self.host, self.port, until=self._until)
        _keep_alive(self.sock)
        self._limit()

    def _limit(self) -> None:
        self.sock.settimeout(max(self._until - time.monotonic(), SHARE_SECONDS))


class _TlsConnection(_PlainConnection):
    """HTTPS to a server whose certificate may carry another name than its URL."""

    default_port = HTTPS_PORT

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext, name: str, seconds: float) -> None:
        super().__init__(host, port, seconds=seconds)
        self._tls = tls
        self._name = name

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)
        self._limit()


def _connection(access: Access, *, seconds: float) -> http.client.HTTPConnection:
    url = urlsplit(access.server)
    host = url.hostname or ""
    if access.tls is not None:
        name = access.server_name or host
        return _TlsConnection(host, url.port or HTTPS_PORT, tls=access.tls, name=name, seconds=seconds)
    return _PlainConnection(host, url.port or HTTP_PORT, seconds=seconds)


def _dial(host: str, port: int, *, until: float) -> socket.socket:
    """A connection by the first address that answers; one that swallows packets leaves the others their share."""
    addresses = [each[4] for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = max((until - time.monotonic()) / left, SHARE_SECONDS)
        try:
            sock = socket.create_connection((str(address[0]), port), share)
        except OSError:
            if left == 1:
                raise
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    message = f"{host} has no address"
    raise OSError(message)


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _refusal(method: str, path: str, response: http.client.HTTPResponse) -> tuple[RefusedError, float]:
    """The error, and after how many seconds the server wants to be asked again."""
    try:
        raw = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(method, path, error) from error
    try:
        said = json.loads(raw)
        reason, message = str(said.get("reason") or ""), str(said.get("message") or "")
    except (ValueError, AttributeError):
        reason, message = "", raw[:200].decode(errors="replace")
    after = response.headers.get("Retry-After") or ""
    told = f"{method} {path}: {response.status} {message or response.reason}"
    refusal = RefusedError(told, status=response.status, reason=reason or response.reason)
    return refusal, float(after) if after.isdigit() else 1.0


def _unreachable(method: str, path: str, error: Exception) -> UnreachableError:
    said = str(error) or type(error).__name__
    way = " (is it the right server, and the right CA in the kubeconfig?)" if isinstance(error, ssl.SSLError) else ""
    return UnreachableError(f"{method} {path}: the API server does not answer: {said}{way}")
