"""A few kilobytes of API server, for tests of what stands before one: list, get, watch, create, patch, delete.

It has resource versions, a history that watches replay, bodies of any size; it has no schema, no admission, no auth.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.fault_proxy.faults import status_object
from tests.support.fault_proxy.requests import WRITING, Request, parse_request
from tests.support.loop_thread import LoopThread

Wire = dict[str, Any]


class ApiServerDouble:
    """Obeys the part of a control plane's contract that the fault proxy needs."""

    def __init__(self) -> None:
        self.ca = Path("none: plain http")
        self.admin_token = "admin"
        self.authorizations: list[str | None] = []
        self.objects: dict[str, Wire] = {}
        """By path."""
        self.watchers = 0
        """Watches that are open now."""
        self._history: list[tuple[int, str, Wire]] = []
        self._versions = itertools.count(1)
        self._version = 0
        self._thread = LoopThread("api-server-double")
        self._changed = self._thread.call(asyncio.Condition)
        self._commits = self._thread.call(asyncio.Event)
        self._commits.set()
        self._runner, self.url = self._thread.run(self._start())

    def put(self, path: str, **fields: object) -> Wire:
        """Create or change an object as another client would; `path` ends with its name."""
        collection, name = path.rsplit("/", 1)
        body = {"metadata": {"name": name}, **fields}
        known = path in self.objects
        return self._thread.run(self._patch(path, body) if known else self._create(collection, body))

    def delete(self, path: str) -> None:
        """Delete an object as another client would."""
        self._thread.run(self._delete(path))

    @contextmanager
    def slow(self) -> Iterator[None]:
        """No write is committed within the block."""
        self._thread.call(self._commits.clear)
        try:
            yield
        finally:
            self._thread.call(self._commits.set)

    def close_listener(self) -> None:
        """Be away: connections break, new ones are refused."""
        self._thread.run(self._stop())

    def close(self) -> None:
        """End it."""
        self.close_listener()
        self._thread.close()

    async def _stop(self) -> None:
        server = self._runner.server
        for protocol in list(server.connections) if server is not None else []:
            if protocol.transport is not None:
                protocol.transport.abort()
        await self._runner.cleanup()

    async def _start(self) -> tuple[web.ServerRunner, str]:
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.content.read()
        self.authorizations.append(request.headers.get("Authorization"))
        about = parse_request(request.method, request.path, request.query, raw)
        if about.verb in WRITING:
            await self._commits.wait()
        match about.verb:
            case "watch":
                return await self._watch(request, about)
            case "list":
                items = [item for path, item in sorted(self.objects.items()) if path.startswith(about.path + "/")]
                return _json({"kind": "List", "metadata": {"resourceVersion": str(self._version)}, "items": items})
            case "create":
                if f"{about.path}/{about.name}" in self.objects:
                    return _json(status_object(409, reason="AlreadyExists"), status=409)
                return _json(await self._create(about.path, about.body), status=201)
            case "get" | "patch" | "delete" if about.path.removesuffix("/status") in self.objects:
                return _json(await self._one(about))
            case _:
                return _json(status_object(404), status=404)

    async def _one(self, about: Request) -> Wire:
        path = about.path.removesuffix("/status")
        if about.verb == "patch":
            return await self._patch(path, about.body)
        return await self._delete(path) if about.verb == "delete" else self.objects[path]

    async def _create(self, collection: str, body: Wire) -> Wire:
        meta = {"uid": str(uuid.uuid4()), **body["metadata"]}
        path = f"{collection}/{meta['name']}"
        return await self._store("ADDED", path, body | {"metadata": meta})

    async def _patch(self, path: str, body: Wire) -> Wire:
        old = self.objects[path]
        return await self._store("MODIFIED", path, old | body | {"metadata": old["metadata"]})

    async def _delete(self, path: str) -> Wire:
        return await self._store("DELETED", path, self.objects[path])

    async def _store(self, kind: str, path: str, body: Wire) -> Wire:
        self._version = next(self._versions)
        stored = body | {"metadata": body["metadata"] | {"resourceVersion": str(self._version)}}
        if kind == "DELETED":
            del self.objects[path]
        else:
            self.objects[path] = stored
        self._history.append((self._version, path, {"type": kind, "object": stored}))
        async with self._changed:
            self._changed.notify_all()
        return stored

    async def _watch(self, request: web.BaseRequest, about: Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        sent = int(about.query.get("resourceVersion", "0"))
        self.watchers += 1
        try:
            while True:
                for version, path, event in [entry for entry in self._history if entry[0] > sent]:
                    sent = version
                    if path.startswith(about.path + "/"):
                        await response.write(json.dumps(event).encode() + b"\n")
                async with self._changed:
                    while self._version <= sent:
                        await self._changed.wait()
        finally:
            self.watchers -= 1


@contextmanager
def api_server_double() -> Iterator[ApiServerDouble]:
    """A server that lives as long as the block."""
    server = ApiServerDouble()
    try:
        yield server
    finally:
        server.close()


def _json(body: Wire, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")
