"""What an answer of the report server means for the reporter. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

LONGEST_RETRY_AFTER: Final = 300.0
"""Seconds; a server that asks for more is asked again after this."""
SHORTEST_PACE: Final = 0.05
LONGEST_PACE: Final = 300.0
REFUSED: Final = frozenset({400, 401, 403, 404, 405, 422, 426})
"""Only a person or an upgrade changes these answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """200: the operator has the entries up to `have_seq`."""

    have_seq: int
    plan: dict[str, Any]
    pace: float
    trust: str = ""
    """PEM of the authorities to trust from now on, too; empty: nothing new."""


@dataclass(frozen=True, slots=True)
class Gone:
    """410: this launch is not current any more."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """413: send fewer entries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Elsewhere:
    """421: this replica does not lead; `location` does, if it knows."""

    location: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The server will say the same until somebody changes something."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """Try again later: after `after` seconds if the server said so."""

    reason: str
    after: float | None = None


Response = Taken | Gone | TooLarge | Elsewhere | Refused | Failed


def read_response(status: int, *, body: bytes, retry_after: str | None = None, location: str | None = None) -> Response:
    """The meaning of a status, its headers and its body."""
    if status == 200:
        return _reply(body)
    if status == 410:
        return Gone()
    if status == 413:
        return TooLarge()
    if status == 421:
        return Elsewhere(location=location)
    reason = f"{status} {body[:200].decode(errors='replace')}".strip()
    if status in REFUSED:
        return Refused(reason=reason)
    return Failed(reason=reason, after=_seconds(retry_after))


def _reply(body: bytes) -> Response:
    try:
        reply = json.loads(body)
        pace = float(reply.get("nextReportSeconds", 5.0))
        if not math.isfinite(pace):
            return Failed(reason=f"reply asks for a report every {pace} seconds")
        pace = min(max(pace, SHORTEST_PACE), LONGEST_PACE)
        return Taken(
            have_seq=int(reply["haveSeq"]), plan=dict(reply["plan"]), pace=pace, trust=str(reply.get("trust") or "")
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        return Failed(reason=f"reply is not readable: {type(error).__name__}: {error}")


def _seconds(retry_after: str | None) -> float | None:
    """The header as seconds; its other form, a date, would need clocks that agree."""
    if retry_after is None or not retry_after.strip().isdecimal():
        return None
    return min(float(retry_after), LONGEST_RETRY_AFTER)


def confirmed_seq(*, said: int, before: int, have: int, sent: int) -> int:
    """The number up to which nothing needs to be sent again, after a reply.

    `said` is the reply's `haveSeq`, `before` that of the reply before, `have` the result for that one, `sent` the
    newest entry of the report. An operator that counts without gaps stays at the first number that was forgotten here:
    what a 200 took need not be sent again even so. One that says less than before has lost its memory.
    """
    return said if said < before else max(said, have, sent)


def backoff(failures: int, *, first: float, last: float) -> float:
    """Seconds to wait after so many failures in a row, before jitter."""
    doublings = min(max(failures - 1, 0), 16)
    return min(first * 2.0**doublings, last)
