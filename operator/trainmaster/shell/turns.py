"""Turns of the event loop, shared: so many callers pass in one turn, the others in the next ones, in order.

A thousand sockets that are readable at once would else be one turn of half a second, in which no reconcile, no watch
and no Lease gets a word in.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Lets `each` callers pass in one turn of the event loop. Belongs to one event loop."""

    def __init__(self, *, each: int) -> None:
        self._each = each
        self._left = each
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._asked = False

    async def mine(self) -> None:
        """Returns at once while there is room in this turn, else when it is the caller's."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            self._asked = True
            loop.call_soon(self._next, loop)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = self._each
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        self._asked = bool(self._waiting) or self._left < self._each
        if self._asked:
            loop.call_soon(self._next, loop)
