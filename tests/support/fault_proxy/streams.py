"""One watch on its way through the proxy: a reader takes lines from the server, a writer delivers them, and faults
stand between the two. Nothing is buffered unless a fault holds it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import orjson
from aiohttp import ClientError, ClientResponse

from tests.support.fault_proxy.board import Board, Installed, Seen
from tests.support.fault_proxy.faults import (
    DropIntermediate,
    Duplicate,
    HalfOpen,
    HoldWatch,
    TruncateWatch,
    WatchError410,
    status_object,
)
from tests.support.fault_proxy.requests import Exchange, parse_json


class Ending(Enum):
    """How a watch ended for its reader."""

    ORDERLY = auto()
    """The last chunk was sent: the stream is complete."""
    BROKEN = auto()
    """The connection breaks within the stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the stream, with its newline, and what it is about."""

    raw: bytes
    type: str
    object_key: tuple[str, str, str]


class WatchStream:
    """A watch that is open."""

    def __init__(self, *, board: Board, exchange: Exchange) -> None:
        self.exchange = exchange
        self._request = exchange.request
        self._board = board
        self._queue: deque[Line | Ending] = deque()
        self._wake = asyncio.Event()
        self._order: tuple[bytes, Ending] | None = None
        self._collapse: list[Installed] = []
        """The faults on whose account intermediate events are dropped once the stream goes on."""

    def poke(self) -> None:
        """Look at the faults again: some were installed or removed."""
        self._wake.set()

    def end(self, ending: Ending, *, last: bytes = b"") -> None:
        """End it now, with `last` as its last bytes; what it holds is lost."""
        self._order = (last, ending)
        self._wake.set()

    async def run(self, upstream: ClientResponse, write: Callable[[bytes], Any]) -> Ending:
        """Carry the stream to its end; `write` sends bytes to the caller at once."""
        for installed, fault in self._board.active(WatchError410, self._request):
            if installed.claim(limit=fault.also_next):
                installed.struck()
                self.exchange.faults.append(installed.name)
                self.end(Ending.ORDERLY, last=expired_line())
                break
        reader = asyncio.ensure_future(self._read(upstream))
        try:
            return await self._deliver(write)
        finally:
            reader.cancel()

    async def _read(self, upstream: ClientResponse) -> None:
        rest = b""
        ending = Ending.ORDERLY
        try:
            async for chunk in upstream.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._arrive(line + b"\n")
        except (ClientError, OSError):
            ending = Ending.BROKEN
        if rest:
            self._queue.append(Line(raw=rest, type="", object_key=("", "", "")))
        self._queue.append(ending)
        self._wake.set()

    def _arrive(self, raw: bytes) -> None:
        line = self._log(raw)
        for installed, _ in self._board.active(HalfOpen, self._request):
            installed.struck()
            return
        for installed, _ in self._board.active(HoldWatch, self._request):
            installed.struck()
        self._queue.append(line)
        self._wake.set()

    def _log(self, raw: bytes) -> Line:
        event = parse_json(raw) or {}
        meta = event.get("object", {}).get("metadata", {})
        seen = Seen(
            order=self._board.tick(),
            stream=self.exchange.number,
            type=str(event.get("type", "")),
            resource=self._request.resource,
            namespace=meta.get("namespace", ""),
            name=meta.get("name", ""),
            uid=meta.get("uid", ""),
            resource_version=meta.get("resourceVersion", ""),
        )
        self._board.note(lambda: self._board.events.append(seen))
        return Line(raw=raw, type=seen.type, object_key=(seen.namespace, seen.name, seen.uid))

    async def _deliver(self, write: Callable[[bytes], Any]) -> Ending:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._order is not None or (self._queue and not self._held()):
                if self._order is not None:
                    last, ending = self._order
                    await write(last)
                    return ending
                if self._collapse:
                    self._drop_intermediate()
                item = self._queue.popleft()
                if isinstance(item, Ending):
                    return item
                cut = await self._send(item, write)
                if cut is not None:
                    return cut

    def _held(self) -> bool:
        """Whether a fault keeps the stream back now."""
        drops = [installed for installed, _ in self._board.active(DropIntermediate, self._request)]
        self._collapse = drops or self._collapse
        return bool(drops) or any(self._board.active(HoldWatch, self._request)) or self._silent()

    def _silent(self) -> bool:
        return any(self._board.active(HalfOpen, self._request))

    async def _send(self, line: Line, write: Callable[[bytes], Any]) -> Ending | None:
        """Send one event; how the stream ended, if a fault ended it in this event."""
        for installed, fault in self._board.active(TruncateWatch, self._request):
            if installed.claim():
                self.exchange.faults.append(installed.name)
                installed.struck()
                await write(line.raw[: max(1, len(line.raw) // 2)])
                return Ending.BROKEN if fault.abrupt else Ending.ORDERLY
        doubling = [installed for installed, _ in self._board.active(Duplicate, self._request)]
        for installed in doubling:
            installed.struck()  # before its reader can see it
        await write(line.raw * (1 + len(doubling)))
        return None

    def _drop_intermediate(self) -> None:
        lines = [item for item in self._queue if isinstance(item, Line)]
        endings = [item for item in self._queue if isinstance(item, Ending)]
        kept = collapsed(lines)
        self._queue = deque([*kept, *endings])
        for installed in self._collapse:
            installed.struck(len(lines) - len(kept))
        self._collapse = []


def collapsed(lines: list[Line]) -> list[Line]:
    """The lines without each MODIFIED that the same object's next line is a MODIFIED, too."""
    kept: list[Line] = []
    following: dict[tuple[str, str, str], str] = {}
    for line in reversed(lines):
        if not (line.type == "MODIFIED" and following.get(line.object_key) == "MODIFIED"):
            kept.append(line)
        following[line.object_key] = line.type
    return kept[::-1]


def expired_line() -> bytes:
    """The ERROR event of a watch whose resourceVersion is too old."""
    message = "too old resource version: 1 (2)"
    return orjson.dumps({"type": "ERROR", "object": status_object(410, message=message)}) + b"\n"
