"""POSTs over HTTP or HTTPS on one connection that is kept, with a bearer token that is read anew for each request.

A handshake costs both ends more than a report does. The server closes a connection that was silent for a while, and
each end may die: a request that finds the kept connection broken is sent again on a new one, which a report can bear.

A replica that does not lead names the leader by its address. Whoever is met there must have a certificate for the
name in the URL that the Job was given: only an operator has, and nobody else is told the token.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from trainmaster_launcher.responses import Failed, Response, read_response
from trainmaster_launcher.trust import Trust

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
"""A plan with a thousand directives is far smaller."""
KEPT_SECONDS: Final = 25.0
"""A connection silent for longer is not used again: the operator closes one after 30 s."""
PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a connection leads, and whose certificate it must meet there."""

    scheme: str
    host: str
    port: int
    name: str


def _place(parts: SplitResult, *, name: str | None) -> _Place:
    """Where a URL leads. Raises ValueError."""
    port = PORTS.get(parts.scheme)
    if port is None or not parts.hostname:
        message = f"{parts.geturl()!r} is no http or https URL"
        raise ValueError(message)
    return _Place(scheme=parts.scheme, host=parts.hostname, port=parts.port or port, name=name or parts.hostname)


class _NamedHTTPSConnection(http.client.HTTPSConnection):
    """HTTPS to an address, of whoever proves to have a name."""

    def __init__(self, place: _Place, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(place.host, place.port, timeout=timeout, context=context)
        self._name = place.name
        self._tls = context

    def connect(self) -> None:
        """Connect, agree on TLS, check the certificate for the name."""
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)
        except BaseException:
            plain.close()
            raise


class HttpClient:
    """Posts reports, from one thread. A token file is replaced by the kubelet while the pod runs: nothing is kept."""

    def __init__(self, *, token_file: Path | None, trust: Trust, timeout: float) -> None:
        self.trust = trust
        self._token_file = token_file
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._place: _Place | None = None
        self._used = 0.0

    def post(self, url: str, body: bytes, *, name: str | None = None) -> Response:
        """The answer; every failure is an answer too: a request never raises for the network's reasons.

        `name` is what the server's certificate must be good for; the host in the URL if it is absent.
        """
        try:
            return self._post(urlsplit(url), body, name=name)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            return Failed(reason=f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Close the connection that is kept; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._place = None

    def _post(self, parts: SplitResult, body: bytes, *, name: str | None) -> Response:
        headers = {"Content-Type": "application/json"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        place = _place(parts, name=name)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if self._is_kept(place):
            try:
                return self._exchange(target, body, headers)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                self.close()  # it was closed at the other end, now or long ago: that says nothing about the server
        self._open(place)
        return self._exchange(target, body, headers)

    def _is_kept(self, place: _Place) -> bool:
        """Whether the connection that is kept leads there and may still live."""
        return self._place == place and time.monotonic() - self._used < KEPT_SECONDS

    def _open(self, place: _Place) -> None:
        self.close()
        if place.scheme == "https":
            self._connection = _NamedHTTPSConnection(place, timeout=self._timeout, context=self.trust.context())
        else:
            self._connection = http.client.HTTPConnection(place.host, place.port, timeout=self._timeout)
        self._place = place

    def _exchange(self, target: str, body: bytes, headers: dict[str, str]) -> Response:
        if self._connection is None:
            raise http.client.NotConnected
        self._connection.request("POST", target, body=body, headers=headers)
        answer = self._connection.getresponse()
        response = read_response(
            answer.status,
            body=answer.read(MAX_REPLY_BYTES),
            retry_after=answer.getheader("Retry-After"),
            location=answer.getheader("Location"),
        )
        self._used = time.monotonic()
        if answer.will_close or not answer.isclosed():
            self.close()
        return response
