"""Following the objects of one list: list, watch, and whatever goes wrong, catch up.

`Follower.changes` blocks until something has changed or it was silent for long enough. A watch that is cut is opened
again from where it was; one that is too old, or an answer that makes no sense, leads to a new list, whose difference
to what was known is what has changed. `Patience` says how long an API server may be away.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from trainmaster.client.errors import RefusedError, UnreachableError
from trainmaster.client.transport import GONE, LEAST_SECONDS, SERVER_ERRORS, TOO_MANY, QuietError, Stream, Transport

Json = dict[str, Any]

AWAY_SECONDS: Final = 900.0
"""An API server that has answered before may be away for so long: an upgrade of a control plane takes minutes."""
PAUSE_FIRST_SECONDS: Final = 0.2
PAUSE_MAX_SECONDS: Final = 10.0
"""Back-off while it is away: one that comes back must not meet all its clients at once."""
QUIET_SECONDS: Final = 75.0
"""A watch that is silent for longer is dead: the server sends a bookmark every minute."""
WATCH_SECONDS: Final = 600
"""After so long the server ends a watch and we open another."""


class Patience:
    """Bears an API server that is away, once it has answered; for `AWAY_SECONDS`, and no refusal that will stay."""

    def __init__(self) -> None:
        self._proven = False
        self._since: float | None = None
        self._failures = 0

    def well(self) -> None:
        """The server has answered."""
        self._proven, self._since, self._failures = True, None, 0

    def bear(self, error: UnreachableError | RefusedError, *, at_most: float) -> None:
        """Wait a while, `at_most` seconds, before the next try. Raises the error where no try will help."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not self._proven or not _passes(error) or now - self._since > AWAY_SECONDS:
            raise error
        self._failures += 1
        pause = PAUSE_FIRST_SECONDS * 2 ** min(self._failures - 1, 10) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        time.sleep(max(0.0, min(pause, PAUSE_MAX_SECONDS, at_most)))


def _passes(error: UnreachableError | RefusedError) -> bool:
    return isinstance(error, UnreachableError) or error.status in SERVER_ERRORS | {TOO_MANY}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """An object as it is now; with `gone`, as it was last."""

    raw: Json
    gone: bool = False


class Follower:
    """Keeps up with the objects of one list. Use it in a `with`."""

    def __init__(self, transport: Transport, path: str, *, query: Mapping[str, str] | None = None) -> None:
        """`query` selects: `labelSelector`, `fieldSelector`."""
        self._transport = transport
        self._path = path
        self._query = dict(query or {})
        self._version = ""
        """Where to watch from; empty: only a list can say."""
        self._known: dict[str, Json] = {}
        self._stream: Stream | None = None
        self._heard = False
        self._patience = Patience()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def changes(self, seconds: float) -> list[Change]:
        """What has changed, the whole list at first; nothing, when `seconds` were silent or the watch was opened anew.

        A server that must be asked has `LEAST_SECONDS` in any case.

        Raises:
            RefusedError: The server will not let us.
            UnreachableError: It has never answered, or is away for too long.
        """
        deadline = time.monotonic() + max(seconds, LEAST_SECONDS)
        try:
            if self._version:
                found = self._watch(min(seconds, QUIET_SECONDS), deadline=deadline)
            else:
                found = self._list(deadline=deadline)
        except QuietError:
            # The stream is of no use after that; what it would have said, the next one says.
            self._hang_up()
            self._patience.well()
            return []
        except (RefusedError, UnreachableError) as error:
            self._hang_up()
            if isinstance(error, RefusedError):
                self._version = ""
                if error.status == GONE:
                    return []
            self._patience.bear(error, at_most=seconds)
            return []
        self._patience.well()
        return found

    def look(self) -> list[Change]:
        """What a list says now, past a watch that may be dead without our knowing; nothing if nobody answers."""
        self._start_over()
        return self.changes(0.0)

    def _list(self, *, deadline: float) -> list[Change]:
        listed, self._version = self._transport.read_all(self._path, self._query, deadline=deadline)
        items = {item["metadata"]["uid"]: item for item in listed}
        before, self._known = self._known, items
        gone = [Change(raw=raw, gone=True) for uid, raw in before.items() if uid not in items]
        return gone + [Change(raw=raw) for uid, raw in items.items() if _version(raw) != _version(before.get(uid))]

    def _watch(self, seconds: float, *, deadline: float) -> list[Change]:
        if self._stream is None:
            asked = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
            asked |= {**self._query, "resourceVersion": self._version}
            self._stream = self._transport.open(self._path, asked, deadline=deadline)
            self._heard = False
        self._stream.listen(seconds)
        line = self._stream.line()
        if line is None:
            return self._ended()
        self._heard = True
        try:
            event = json.loads(line)
            kind, raw = str(event["type"]), dict(event["object"])
        except (ValueError, KeyError, TypeError):
            return self._start_over()
        return self._take(kind, raw)

    def _ended(self) -> list[Change]:
        silent = not self._heard
        self._hang_up()
        if silent:
            # Whoever ends watches without a word must not be asked again at once.
            message = f"{self._path}: the watch has ended without a word"
            raise UnreachableError(message)
        return []

    def _start_over(self) -> list[Change]:
        self._hang_up()
        self._version = ""
        return []

    def _take(self, kind: str, raw: Json) -> list[Change]:
        if kind == "ERROR":
            return self._start_over()
        self._version = _version(raw)
        if kind == "BOOKMARK":
            return []
        uid = raw["metadata"]["uid"]
        if kind == "DELETED":
            self._known.pop(uid, None)
            return [Change(raw=raw, gone=True)]
        known = _version(self._known.get(uid))
        self._known[uid] = raw
        return [] if known == _version(raw) else [Change(raw=raw)]

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _version(raw: Json | None) -> str:
    return "" if raw is None else str(raw["metadata"]["resourceVersion"])
