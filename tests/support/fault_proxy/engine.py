"""The proxy's inside, on its loop: every request passes `handle`, every fault acts here or in the stream of a watch."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

from tests.support.fault_proxy.board import Board, Installed
from tests.support.fault_proxy.faults import (
    Answer,
    AnswerAfterCommit,
    Delay,
    HalfOpen,
    KillAfter,
    KillBefore,
    Reset,
    StaleList,
)
from tests.support.fault_proxy.lists import KeptLists
from tests.support.fault_proxy.requests import WRITING, Exchange, parse_json, parse_request
from tests.support.fault_proxy.streams import Ending, WatchStream
from tests.support.fault_proxy.wire import Reply, break_off, drop, forwarded, made_up, never

T = TypeVar("T")

CONNECT_SECONDS = 10.0
"""The server is on this machine: it answers at once or not at all."""
SKIPPED = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})
"""What the client would add although the caller did not say it."""


class Engine:
    """Forwards, logs, and lets the installed faults strike."""

    def __init__(self, *, board: Board, upstream: str, trust: ssl.SSLContext | None) -> None:
        self.board = board
        self.lists = KeptLists()
        self.streams: set[WatchStream] = set()
        self.server = web.Server(self.handle, handler_cancellation=True, access_log=None, auto_decompress=False)
        self._hung: dict[Installed, list[web.BaseRequest]] = {}
        self._doomed: set[object] = set()
        self._killing = 0
        self._background: set[asyncio.Task[Any]] = set()
        self._upstream = upstream
        connector = TCPConnector(limit=0, ssl=trust if trust is not None else True)
        timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        self._session = ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, skip_auto_headers=SKIPPED
        )

    async def close(self) -> None:
        """End the connections to the server; writes under way are followed to their end first."""
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._session.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request of the operator."""
        raw = await request.content.read()
        exchange = self.board.open(parse_request(request.method, request.path, request.query, raw))
        about = exchange.request
        before = [i for i, _ in self.board.active(KillBefore, about) if i.due()]
        after = [i for i, _ in self.board.active(KillAfter, about) if i.due()]
        for installed in before:
            await self._finish(self._kill(installed, exchange))
        await self._keep_back(exchange, after_commit=False)
        if self._killing or request.protocol in self._doomed:
            await drop(request)
        instead = await self._instead(request, exchange)
        if instead is not None:
            return self._answer(instead, exchange)
        if about.verb == "watch":
            return await self._watch(request, exchange)
        reply = await self._followed(self._exchange(request, exchange, raw, after), write=about.verb in WRITING)
        if reply is None or request.protocol in self._doomed:
            await drop(request)
        return self._answer(await self._distorted(request, exchange, reply), exchange)

    # -- faults -------------------------------------------------------------------------------------------------------

    async def _instead(self, request: web.BaseRequest, exchange: Exchange) -> Reply | None:
        """What the caller gets instead of the server's answer; None: ask the server."""
        about = exchange.request
        for installed, reset in self.board.active(Reset, about):
            if not reset.after_commit and installed.claim():
                self._strike(installed, exchange)
                await drop(request, reset=True)
        for installed, _ in self.board.active(HalfOpen, about):
            if about.verb != "watch" and installed.claim():
                self._hung.setdefault(installed, []).append(request)
                self._strike(installed, exchange)
                await never()
        for installed, answer in self.board.active(Answer, about):
            if not isinstance(answer, AnswerAfterCommit) and installed.claim():
                self._strike(installed, exchange)
                return made_up(answer)
        for installed, stale in self.board.active(StaleList, about):
            body = self.lists.older(about, index=stale.index) if about.verb == "list" else None
            if body is not None and installed.claim():
                self._strike(installed, exchange)
                return Reply(status=200, headers=CIMultiDict({"Content-Type": "application/json"}), body=body)
        return None

    async def _keep_back(self, exchange: Exchange, *, after_commit: bool) -> None:
        for installed, delay in self.board.active(Delay, exchange.request):
            if delay.after_commit == after_commit and installed.claim():
                self._strike(installed, exchange)
                await asyncio.sleep(delay.seconds)

    async def _distorted(self, request: web.BaseRequest, exchange: Exchange, reply: Reply) -> Reply:
        """What the caller gets once the server has answered."""
        await self._keep_back(exchange, after_commit=True)
        for installed, reset in self.board.active(Reset, exchange.request):
            if reset.after_commit and installed.claim():
                self._strike(installed, exchange)
                await drop(request, reset=True)
        for installed, answer in self.board.active(AnswerAfterCommit, exchange.request):
            if installed.claim():
                self._strike(installed, exchange)
                return made_up(answer)
        return reply

    async def _kill(self, installed: Installed, exchange: Exchange) -> None:
        """Kill the operator; from now on nothing of its connections is forwarded, and all of them break."""
        assert isinstance(installed.fault, KillBefore | KillAfter)
        self._killing += 1
        self._doomed = set(self.server.connections)
        try:
            await asyncio.get_running_loop().run_in_executor(None, installed.fault.kill)
            self._doomed |= set(self.server.connections)
            self.break_connections()
        finally:
            self._killing -= 1
        self._strike(installed, exchange)

    def break_connections(self) -> None:
        """Break all connections of callers."""
        for protocol in list(self.server.connections):
            if protocol.transport is not None:
                protocol.transport.abort()

    def free(self, installed: Installed) -> None:
        """Reset what a HalfOpen that is removed had hung up."""
        for request in self._hung.pop(installed, []):
            break_off(request, reset=True)
        for stream in self.streams:
            if installed.fault.match(stream.exchange.request):
                stream.end(Ending.BROKEN)

    def _strike(self, installed: Installed, exchange: Exchange) -> None:
        exchange.faults.append(installed.name)
        installed.struck()

    # -- forwarding ---------------------------------------------------------------------------------------------------

    async def _followed(self, work: Coroutine[Any, Any, Reply | None], *, write: bool) -> Reply | None:
        """A write is followed to its end even when its caller goes away: the log must know what was committed."""
        return await (self._finish(work) if write else work)

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work that goes on when this handler is cancelled."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return await asyncio.shield(task)

    async def _exchange(
        self, request: web.BaseRequest, exchange: Exchange, raw: bytes, kills: list[Installed]
    ) -> Reply | None:
        """The server's answer; None: it is away. Kills strike when it has come."""
        try:
            async with self._ask(request, raw) as upstream:
                reply = await self._read(upstream, exchange)
        except (ClientError, OSError, TimeoutError):
            return None
        for installed in kills:
            await self._kill(installed, exchange)
        return reply

    def _ask(self, request: web.BaseRequest, raw: bytes) -> AbstractAsyncContextManager[ClientResponse]:
        url = URL(self._upstream + request.raw_path, encoded=True)
        return self._session.request(
            request.method, url, headers=forwarded(request.headers), data=raw or None, allow_redirects=False
        )

    async def _read(self, upstream: ClientResponse, exchange: Exchange) -> Reply:
        body = await upstream.read()
        about = exchange.request
        if about.verb == "list" and upstream.status == 200:
            self.lists.keep(about, body)
        reply = parse_json(body) if about.verb in WRITING else None
        self.board.note(lambda: _ended(exchange, status=upstream.status, reply=reply, tick=self.board.tick))
        return Reply(status=upstream.status, headers=forwarded(upstream.headers), body=body)

    def _answer(self, reply: Reply, exchange: Exchange) -> web.Response:
        self.board.note(lambda: setattr(exchange, "answered", reply.status))
        return reply.response()

    async def _watch(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        try:
            async with self._ask(request, b"") as upstream:
                if upstream.status != 200:
                    return self._answer(await self._read(upstream, exchange), exchange)
                return await self._stream(request, exchange, upstream)
        except (ClientError, OSError, TimeoutError):
            return await drop(request)

    async def _stream(
        self, request: web.BaseRequest, exchange: Exchange, upstream: ClientResponse
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=200, headers=forwarded(upstream.headers))
        stream = WatchStream(board=self.board, exchange=exchange)
        self.streams.add(stream)
        self.board.note(lambda: _opened(exchange))
        try:
            await response.prepare(request)
            ending = await stream.run(upstream, response.write)
        finally:
            self.streams.discard(stream)
            self.board.note(lambda: setattr(exchange, "ended", self.board.tick()))
        if ending is Ending.BROKEN:
            if request.transport is not None:
                request.transport.close()
            await never()
        await response.write_eof()
        return response


def _opened(exchange: Exchange) -> None:
    exchange.status = exchange.answered = 200


def _ended(exchange: Exchange, *, status: int, reply: object, tick: Callable[[], int]) -> None:
    exchange.status, exchange.reply, exchange.ended = status, reply, tick()
