"""An HTTP server on loopback that answers by a script, for tests of what a client makes of strange answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import kopf
from aiohttp import web

from trainmaster.adapters.kubernetes.connection import Connection

Json = dict[str, Any]
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def says(body: object, *, status: int = 200, **headers: str) -> Answer:
    """Answers with JSON, or with bytes as they are."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=raw, headers={"Content-Type": "application/json"} | headers)

    return answer


def refuses(status: int, reason: str = "", **headers: str) -> Answer:
    """Answers as an API server refuses."""
    said = {"kind": "Status", "code": status, "reason": reason, "message": f"because {reason}"}
    return says(said, status=status, **{name.replace("_", "-"): value for name, value in headers.items()})


async def resets(request: web.BaseRequest) -> web.StreamResponse:
    """Breaks the connection without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def streams(*chunks: bytes, then: Callable[[], Awaitable[object]] | None = None) -> Answer:
    """Answers with these chunks, each sent by itself; ends after `then`."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if then is not None:
            await then()
        return response

    return answer


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as the server got it."""

    method: str
    path: str
    query: dict[str, str]
    authorization: str | None
    content_type: str | None
    body: Json | None


@dataclass
class ScriptedServer:
    """Answers by `script`, one entry a request; what was asked is in `asked`."""

    script: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def connection(self, token: str = "token") -> Connection:
        """The way to it."""
        return Connection(info=kopf.ConnectionInfo(server=self.url, token=token))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raw = await request.read()
        self.asked.append(
            Asked(
                method=request.method,
                path=request.path,
                query=dict(request.query),
                authorization=request.headers.get("Authorization"),
                content_type=request.headers.get("Content-Type"),
                body=json.loads(raw) if raw else None,
            )
        )
        return await self.script.pop(0)(request)


@asynccontextmanager
async def scripted_server(*script: Answer) -> AsyncIterator[ScriptedServer]:
    """A server that lives as long as the block."""
    server = ScriptedServer(script=list(script))
    runner = web.ServerRunner(web.Server(server.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
