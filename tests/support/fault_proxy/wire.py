"""HTTP's small change: headers that end at a hop, answers, connections that end badly."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import orjson
from aiohttp import web
from multidict import CIMultiDict

from tests.support.fault_proxy.faults import Answer, status_object

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"}
)
"""Headers of one connection, not of the message."""
MADE_ANEW = frozenset({"content-length", "accept-encoding"})
"""The body's length is known at each hop; compressed answers could not be read here."""
LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 seconds: closing sends a reset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer that is complete."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def response(self) -> web.Response:
        """For the caller."""
        return web.Response(status=self.status, headers=self.headers, body=self.body)


def forwarded(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers that are the message's own, in their order."""
    left_out = HOP_BY_HOP | MADE_ANEW
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in left_out)


def made_up(answer: Answer) -> Reply:
    """The answer of a fault."""
    body = answer.body
    if body is None:
        body = orjson.dumps(status_object(answer.status, reason=answer.reason, message=answer.message))
    headers = CIMultiDict({"Content-Type": "application/json"})
    headers.update(answer.headers)
    return Reply(status=answer.status, headers=headers, body=body)


async def drop(request: web.BaseRequest, *, reset: bool = False) -> NoReturn:
    """Break the caller's connection without a word; `reset`: by a TCP reset. The handler is cancelled by that."""
    break_off(request, reset=reset)
    await never()


def break_off(request: web.BaseRequest, *, reset: bool) -> None:
    """The same from outside of the handler."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    transport.abort()


async def never() -> NoReturn:
    """Wait until the caller goes away: that cancels the handler."""
    while True:
        await asyncio.get_running_loop().create_future()
