"""The board of a proxy: the log of exchanges and events, and the faults that are installed.

The proxy's loop writes, a test's thread reads and waits; one condition guards both.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from tests.support.fault_proxy.faults import Fault, KillAfter, KillBefore
from tests.support.fault_proxy.requests import Exchange, Request, is_write

F = TypeVar("F", bound=Fault)

WAIT_SECONDS = 20.0
"""How long a test waits for what it caused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One watch event as the server sent it, in the order of the log."""

    order: int
    stream: int
    type: str
    resource: str
    namespace: str
    name: str
    uid: str
    resource_version: str


class Installed:
    """A fault at work. Its methods may be called from any thread."""

    def __init__(self, board: Board, fault: Fault, remove: Callable[[Installed], None]) -> None:
        self.fault = fault
        self.strikes = 0
        self.active = True
        self._claimed = 0
        self._seen = 0
        self._board = board
        self._remove = remove

    @property
    def name(self) -> str:
        """Of the fault's class."""
        return type(self.fault).__name__

    def wait(self, count: int = 1, *, timeout: float = WAIT_SECONDS) -> None:
        """Wait until it struck so often. Raises AssertionError."""
        self._board.wait_for(lambda: self.strikes >= count, what=f"strike {count} of {self}", timeout=timeout)

    def remove(self) -> None:
        """End it: what it holds back is delivered."""
        self._remove(self)

    def claim(self, *, limit: int | None = None) -> bool:
        """Whether it may strike once more, of `limit` times (default: the fault's `times`); counts that it will."""
        times = self.fault.times if limit is None else limit
        if not self.active or (times is not None and self._claimed >= times):
            return False
        self._claimed += 1
        return True

    def due(self) -> bool:
        """Whether this is the write that a kill waits for; counts it."""
        assert isinstance(self.fault, KillBefore | KillAfter)
        self._seen += 1
        return self._seen == self.fault.write

    def struck(self, times: int = 1) -> None:
        """Count strikes, and wake who waits for them."""
        with self._board.changed:
            self.strikes += times
            self._board.changed.notify_all()

    def __str__(self) -> str:
        return f"{self.fault} (struck {self.strikes} times)"


class Board:
    """Log and faults of one proxy."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.installed: list[Installed] = []
        self.events: list[Seen] = []
        self._log: list[Exchange] = []
        self._writes = 0
        self._ticks = itertools.count(1)

    def tick(self) -> int:
        """The next place in the order of everything that is logged."""
        return next(self._ticks)

    def open(self, request: Request) -> Exchange:
        """Note a request that came."""
        with self.changed:
            self._writes += is_write(request)
            exchange = Exchange(
                number=len(self._log) + 1,
                request=request,
                began=self.tick(),
                write=self._writes if is_write(request) else None,
            )
            self._log.append(exchange)
            self.changed.notify_all()
            return exchange

    def note(self, change: Callable[[], None]) -> None:
        """Make a change of what is logged, and wake who waits for it."""
        with self.changed:
            change()
            self.changed.notify_all()

    def active(self, kind: type[F], request: Request) -> Iterator[tuple[Installed, F]]:
        """The faults of a kind that are for a request, in the order of their installation."""
        for installed in [*self.installed]:
            if installed.active and isinstance(installed.fault, kind) and installed.fault.match(request):
                yield installed, installed.fault

    def exchanges(self) -> tuple[Exchange, ...]:
        """Copies of all exchanges, in the order in which they came."""
        with self.changed:
            return tuple(replace(exchange, faults=[*exchange.faults]) for exchange in self._log)

    def wait_for(self, condition: Callable[[], bool], *, what: str, timeout: float = WAIT_SECONDS) -> None:
        """Wait until a condition on the log or on strikes holds. Raises AssertionError with the end of the log."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                tail = "\n".join(f"  {exchange}" for exchange in self._log[-12:])
                message = f"{what} did not come within {timeout:g} s; the last requests:\n{tail}"
                raise AssertionError(message)
