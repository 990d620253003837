"""The report server of a cluster: connections, TLS, their limits, and an end that cuts nobody off.

aiohttp's low-level server, without an application around it: one path needs no router. Slow and silent connections are
closed by three clocks: the handshake's, the one of an idle connection (which runs on while a header trickles in), and
the body's (`report_server.BODY_SECONDS`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from trainmaster.api.protocol import MAX_REPORT_BYTES
from trainmaster.shell.report_server import ReportHandler

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS: Final = 10
"""For TLS to be agreed on: a launcher gives up on the whole request after as long."""
IDLE_SECONDS: Final = 30
"""A connection that brought no whole request header for so long is closed, be it silent or slow. Launchers report
every 5 s, and open a new connection where theirs is closed."""
LINGER_SECONDS: Final = 2
"""For the rest of a body that is not wanted: the sender then reads why, instead of a reset."""
DRAIN_SECONDS: Final = 10
"""For requests in hand when the server stops; none takes longer than its body."""
BACKLOG: Final = 1024
"""Connections that wait to be accepted: a fleet that comes back at once."""
READ_BUFFER_BYTES: Final = 16 * 1024
"""A TLS record. asyncio allots 256 KiB to each TLS connection for as long as it lives: 250 MiB for 1,000 launchers."""
MAX_HEADERS: Final = 32
"""Header fields of one request; launchers send six."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionLimits:
    """Connections that are kept open; beyond them new ones are closed at once."""

    total: int = 8000
    """Some 100 KiB each with TLS, and the file descriptors of one process."""
    per_address: int = 512
    """A node's address may stand for all its pods (110 by default), each with a connection that closes slowly."""


class ReportServer:
    """Takes reports on one socket. Belongs to one event loop."""

    def __init__(
        self,
        handler: ReportHandler,
        *,
        tls: ssl.SSLContext | None,
        limits: ConnectionLimits | None = None,
        on_turned_away: Callable[[], None] | None = None,
    ) -> None:
        """`on_turned_away` is called for each connection over the limits."""
        self._handler = handler
        self._tls = tls
        self._http = _Connections(handler, limits or ConnectionLimits(), on_turned_away=on_turned_away or _ignore)
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket."""
        # Read by each new connection; of the whole process, whose other TLS connections (to the API server) only take
        # more turns for a large answer.
        sslproto.SSLProtocol.max_size = READ_BUFFER_BYTES
        self._server = await asyncio.get_running_loop().create_server(
            self._http,
            sock=listener,
            ssl=self._tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls is not None else None,
        )

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._http.connections)

    async def stop(self) -> None:
        """Accept no more, answer what is in hand (`DRAIN_SECONDS` at most), close."""
        if self._server is None:
            return
        self._server.close()
        handler = self._handler
        handler.draining = True
        self._http.close_all_but(handler.busy)
        try:
            if handler.busy:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await handler.idle.wait()
        except TimeoutError:
            logger.warning(
                "report server: %d requests are cut off, they took over %d s", len(handler.busy), DRAIN_SECONDS
            )
        await self._http.shutdown(1.0)
        self._server = None


class _Connections(web.Server):
    """aiohttp's server, which counts its connections and refuses those over the limits."""

    def __init__(self, handler: ReportHandler, limits: ConnectionLimits, *, on_turned_away: Callable[[], None]) -> None:
        super().__init__(
            handler.answer,
            request_factory=self._request,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            access_log=None,
        )
        self._limits = limits
        self._on_turned_away = on_turned_away
        self._addresses: Counter[str] = Counter()
        self._places: dict[RequestHandler, tuple[str, asyncio.Transport]] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection in, or close it at once."""
        super().connection_made(handler, transport)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._places[handler] = address, transport
        self._addresses[address] += 1
        if len(self._places) > self._limits.total or self._addresses[address] > self._limits.per_address:
            logger.warning("report server: too many connections (%d); closed one from %s", len(self._places), address)
            self._on_turned_away()
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Let a connection go."""
        super().connection_lost(handler, exc)
        place = self._places.pop(handler, None)
        if place is None:
            return
        address, _ = place
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def close_all_but(self, busy: Collection[object]) -> None:
        """Close connections that wait for a request."""
        for handler, (_, transport) in list(self._places.items()):
            if handler not in busy:
                transport.close()

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        loop: Any = self._loop
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_REPORT_BYTES)


def _ignore() -> None:
    """Nobody counts."""
