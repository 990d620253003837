"""An event loop on a thread of its own, so that plain tests can drive servers and clients that need one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CALL_SECONDS = 30.0
"""What a test waits for one call into the loop: everything called this way is short."""


class LoopThread:
    """Runs coroutines on its loop for callers of other threads."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], *, timeout: float = CALL_SECONDS) -> T:
        """The result of a coroutine. Raises what it raises, TimeoutError after `timeout` seconds."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def call(self, function: Callable[[], T]) -> T:
        """The result of a function that must run on the loop."""

        async def within() -> T:
            return function()

        return self.run(within())

    def tasks(self) -> int:
        """How many tasks are on the loop, the question itself apart."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return self.run(count())

    def close(self) -> None:
        """End what still runs on the loop, then the thread."""
        self.run(_end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CALL_SECONDS)
        self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


async def _end_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
