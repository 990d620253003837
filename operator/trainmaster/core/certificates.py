"""When the report server's certificates are made anew: what is held and the time in, the one thing to do next out.

One authority signs the leaf that the report server shows. Launchers trust it from their Job's environment, which never
changes. Four years before its end a next authority is made, and handed out to every launcher in replies and to every
new Job; a year later it takes over, and signs the leaf. The old one has signed it, too (a cross-signature, sent behind
the leaf), so a launcher that was silent for the whole of that time, and knows the old one only, still finds its way
for the three years that the old one has left.

    age of an authority      0 ........ 6 years ......... 7 years ............ 10 years
                             signs the leaf   next one made    next one signs     ends

Each step can be taken by any replica at any time, late as well: `next_step` says the same whoever asks.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

AUTHORITY_LIFE: Final = timedelta(days=3650)
"""Ten years: launchers trust it from a Job's environment, which never changes, for as long as a run may live."""
LEAF_LIFE: Final = timedelta(days=90)
"""A key that leaked is worth little after a quarter; renewal is exercised often enough to be known to work."""
RENEW_LEAF: Final = timedelta(days=30)
"""Left when a leaf is made anew: a month in which the Secret could not be written cuts nobody off."""
MAKE_NEXT: Final = timedelta(days=4 * 365)
"""Left to an authority when its successor is made and handed out."""
SWAP: Final = timedelta(days=3 * 365)
"""Left to an authority when its successor takes over: no launcher is silent for three years and lives."""
HANDED_OUT: Final = timedelta(days=90)
"""For a successor to be handed out before it takes over, where an operator that was away has made it too late."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Authority:
    """An authority whose key is held, too."""

    key_id: str
    """Names its key."""
    begins: datetime
    ends: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A certificate that the report server can show, since its key is held."""

    issuer: str
    """`key_id` of the authority that signed it."""
    names: frozenset[str]
    """DNS names and addresses that it is good for."""
    begins: datetime
    ends: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What there is and can be used; None for what is not there, unreadable, or without its key."""

    authority: Authority | None = None
    successor: Authority | None = None
    leaf: Leaf | None = None


class Step(Enum):
    """What to do next."""

    NOTHING = "nothing"
    BEGIN = "make an authority"
    MAKE_NEXT = "make the next authority"
    SWAP = "let the next authority take over"
    LEAF = "make a leaf"


def next_step(held: Held, *, names: AbstractSet[str], now: datetime) -> Step:
    """The one thing to do next, so that a leaf for these names stays good. Ask again when it is done."""
    authority, successor = _unless_ended(held.authority, now), _unless_ended(held.successor, now)
    if authority is None:
        return Step.BEGIN if successor is None else Step.SWAP
    left = authority.ends - now
    if successor is None and left < MAKE_NEXT:
        return Step.MAKE_NEXT
    if successor is not None and _takes_over(successor, left=left, now=now):
        return Step.SWAP
    return Step.NOTHING if _is_good(held.leaf, authority=authority, names=names, now=now) else Step.LEAF


def leaf_names(held: Held, *, names: AbstractSet[str], now: datetime) -> frozenset[str]:
    """The names that a new leaf is made for.

    A leaf that is young was made by a replica that calls itself otherwise, before or after an upgrade: both are right
    until it is old, else they would replace each other's leaf for as long as both live.
    """
    leaf = held.leaf
    young = leaf is not None and leaf.begins <= now and leaf.ends - now >= RENEW_LEAF
    return frozenset(names) | (leaf.names if leaf is not None and young else frozenset())


def _unless_ended(authority: Authority | None, now: datetime) -> Authority | None:
    return authority if authority is not None and authority.ends > now else None


def _takes_over(successor: Authority, *, left: timedelta, now: datetime) -> bool:
    """Whether the successor's time has come; known to launchers or not, where the authority ends before a leaf would.

    Those that do not know it then have the cross-signature.
    """
    return left < LEAF_LIFE or (left < SWAP and now - successor.begins >= HANDED_OUT)


def _is_good(leaf: Leaf | None, *, authority: Authority, names: AbstractSet[str], now: datetime) -> bool:
    if leaf is None or leaf.issuer != authority.key_id or not names <= leaf.names:
        return False
    return leaf.begins <= now and leaf.ends - now >= RENEW_LEAF
