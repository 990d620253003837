"""An undisturbed witness: watches a namespace at the API server itself and keeps every state of its objects.

with observing(plane, namespace) as history:
    ...
    history.wait_for(lambda: history.newest("TrainingRun", "r").get("phase") == "Running", what="...")
assert_invariants(proxy.exchanges, history.states)
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.support.fault_proxy.proxy import Plane
from tests.support.fault_proxy.requests import parse_json
from tests.support.invariants import Observed
from tests.support.loop_thread import LoopThread

Wire = dict[str, Any]

WATCHED = (
    ("TrainingRun", "/apis/trainmaster.io/v1alpha1/namespaces/{namespace}/trainingruns"),
    ("Job", "/apis/batch/v1/namespaces/{namespace}/jobs"),
)
WAIT_SECONDS = 20.0
NOT_READY = 429
"""What a server answers for a kind whose definition it has just got."""
AGAIN_SECONDS = 0.2


class History:
    """Every state that the objects of a namespace had, by kind in order; made by `observing`."""

    def __init__(self, plane: Plane, namespace: str, watched: Sequence[tuple[str, str]]) -> None:
        self._plane = plane
        self._states: list[Observed] = []
        self._current: dict[tuple[str, str], Wire] = {}
        self._changed = threading.Condition()
        self._failure: Exception | None = None
        self._thread = LoopThread("observer")
        self._watches: list[asyncio.Task[None]] = []
        self._session = self._thread.call(self._open)
        try:
            self._thread.run(self._start([(kind, path.format(namespace=namespace)) for kind, path in watched]))
        except BaseException:
            self.close()
            raise

    @property
    def states(self) -> tuple[Observed, ...]:
        """All states so far. Raises what ended a watch, if one ended: a history with a gap proves nothing."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            return tuple(self._states)

    def newest(self, kind: str, name: str) -> Wire:
        """An object as it is now; empty if it is not there."""
        with self._changed:
            return self._current.get((kind, name), {})

    def objects(self, kind: str) -> list[Wire]:
        """All objects of a kind that are there now."""
        with self._changed:
            return [item for (of, _), item in sorted(self._current.items()) if of == kind]

    def wait_for(self, condition: Callable[[], bool], *, what: str, timeout: float = WAIT_SECONDS) -> None:
        """Wait until a condition on the objects holds. Raises AssertionError with what is there."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._failure is not None or condition(), timeout):
                there = [f"{kind} {name}: {item.get('status')}" for (kind, name), item in self._current.items()]
                message = f"{what} did not come within {timeout:g} s; there is: {there}"
                raise AssertionError(message)
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Stop watching."""
        self._thread.run(self._stop())
        self._thread.close()

    def _open(self) -> ClientSession:
        https = self._plane.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(self._plane.ca)) if https else True
        return ClientSession(
            base_url=self._plane.url,
            connector=TCPConnector(ssl=context),
            headers={"Authorization": f"Bearer {self._plane.admin_token}"},
            timeout=ClientTimeout(total=None),
        )

    async def _start(self, watched: Sequence[tuple[str, str]]) -> None:
        versions = [await self._list(kind, path) for kind, path in watched]
        follows = zip(watched, versions, strict=True)
        self._watches = [asyncio.ensure_future(self._follow(kind, path, version)) for (kind, path), version in follows]

    async def _stop(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self._session.close()

    async def _follow(self, kind: str, path: str, version: str) -> None:
        failure: Exception = ConnectionError("the API server ended a watch of the observer")
        try:
            async with self._session.get(path, params={"watch": "true", "resourceVersion": version}) as response:
                response.raise_for_status()
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = parse_json(line)
                        self._note(Observed(type=event["type"], kind=kind, object=event["object"]))
        except Exception as error:  # noqa: BLE001  # whatever it is, the test is told by `states` and `wait_for`
            failure = error
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    async def _list(self, kind: str, path: str) -> str:
        listed = await self._get(path)
        for item in listed["items"]:
            self._note(Observed(type="ADDED", kind=kind, object=item))
        return str(listed["metadata"]["resourceVersion"])

    async def _get(self, path: str) -> Wire:
        while True:
            async with self._session.get(path) as response:
                if response.status != NOT_READY:
                    response.raise_for_status()
                    listed: Wire = parse_json(await response.read())
                    return listed
            await asyncio.sleep(AGAIN_SECONDS)

    def _note(self, seen: Observed) -> None:
        with self._changed:
            self._states.append(seen)
            key = (seen.kind, str(seen.object["metadata"]["name"]))
            if seen.type == "DELETED":
                self._current.pop(key, None)
            else:
                self._current[key] = seen.object
            self._changed.notify_all()


@contextmanager
def observing(plane: Plane, namespace: str, *, watched: Sequence[tuple[str, str]] = WATCHED) -> Iterator[History]:
    """Watches of a namespace's runs and Jobs, past the proxy, for as long as the block lasts."""
    history = History(plane, namespace, watched)
    try:
        yield history
    finally:
        history.close()
