"""The faults that the proxy can make, as data. Installing one gives a handle that counts how often it struck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.fault_proxy.requests import LISTS, WATCHES, WRITES, Match

Wire = dict[str, Any]

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""How the API server words a status in `reason`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Strikes the requests that `match` means, `times` of them; None: all of them, until it is removed.

    Where a test gives no `match`: the operator's writes; of faults of streams, all watches; of StaleList, all lists.
    """

    match: Match = WRITES
    times: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KillBefore(Fault):
    """Kill the operator when it sends its `write`-th matching request from now, counted from 1; do not forward it.

    `kill` must return when the operator is dead. From its call on nothing of the operator's connections is forwarded.
    """

    write: int
    kill: Callable[[], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class KillAfter(Fault):
    """The same, once the server has answered that request: it is committed, and the operator never learns it."""

    write: int
    kill: Callable[[], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer(Fault):
    """Answer with `status` instead of asking the server; `body` None: a Status object as the server writes it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    reason: str | None = None
    message: str = "made by the fault proxy"
    times: int | None = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerAfterCommit(Answer):
    """Ask the server, wait for its answer, and answer with `status` nevertheless."""

    status: int = 504


@dataclass(frozen=True, kw_only=True, slots=True)
class Delay(Fault):
    """Keep a request back for so many seconds, then forward it; `after_commit`: keep its answer back instead."""

    seconds: float
    after_commit: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Reset(Fault):
    """Answer with a TCP reset; `after_commit`: once the server has taken the request."""

    after_commit: bool = False
    times: int | None = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class HalfOpen(Fault):
    """Take a request and never answer it; a watch goes silent: its events are lost, its connection stays open.

    Watches that are open already go silent too, if `match` means them. Removed: what hung is reset, so that
    nobody waits for ever.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class TruncateWatch(Fault):
    """Cut a watch in the middle of its next event's JSON.

    `abrupt`: the connection breaks; else the stream ends in good order, with half a line as its last.
    """

    match: Match = WATCHES
    times: int | None = 1
    abrupt: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldWatch(Fault):
    """Keep events back; removed, all of them are delivered in their order. Strikes: events kept back."""

    match: Match = WATCHES


@dataclass(frozen=True, kw_only=True, slots=True)
class DropIntermediate(Fault):
    """Keep events back; removed, of an object's MODIFIED in a row only the last is delivered. Strikes: events lost."""

    match: Match = WATCHES


@dataclass(frozen=True, kw_only=True, slots=True)
class CutWatches(Fault):
    """End the watches that are open now, what they hold back lost; `abrupt`: without the end of the stream."""

    match: Match = WATCHES
    abrupt: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchError410(Fault):
    """End the watches that are open now by an ERROR event 410 Expired, and the `also_next` ones that open next."""

    match: Match = WATCHES
    also_next: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StaleList(Fault):
    """Answer a list by an earlier answer to the same list (path and selectors): the server went back in time.

    `index` among the answers that the proxy kept, oldest first. Lists that were never answered go to the server.
    """

    match: Match = LISTS
    times: int | None = 1
    index: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate(Fault):
    """Deliver every event of a watch twice."""

    match: Match = WATCHES


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerAway(Fault):
    """Nobody listens: open connections break, new ones are refused, until it is removed."""


def status_object(status: int, *, reason: str | None = None, message: str = "") -> Wire:
    """A Status of failure, as the API server answers."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or REASONS.get(status, "Unknown"),
        "code": status,
    }
