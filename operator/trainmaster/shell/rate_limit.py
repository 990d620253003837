"""Token buckets by key, one number each (the generic cell rate algorithm): no timers, nothing to refill."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

MAX_KEYS: Final = 20_000
"""Buckets kept, some 200 bytes each; beyond that the one unused for longest is forgotten, to its own advantage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many in a second in the long run, and so many at once."""

    per_second: float
    burst: int


class RateLimit:
    """One bucket per key. Times are seconds of any clock that does not run backwards."""

    def __init__(self, rate: Rate) -> None:
        self._interval = 1.0 / rate.per_second
        self._tolerance = (rate.burst - 1) * self._interval
        self._next: OrderedDict[Hashable, float] = OrderedDict()
        """By key, when the bucket will be full again."""

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until the key may; 0 if it may now."""
        return max(0.0, self._next.get(key, now) - now - self._tolerance)

    def take(self, key: Hashable, now: float) -> float:
        """Take one from the key's bucket, if there is one; else the seconds until there is."""
        full_at = self._next.get(key, now)
        wait = full_at - now - self._tolerance
        if wait > 0:
            return wait
        self._next[key] = max(full_at, now) + self._interval
        self._next.move_to_end(key)
        if len(self._next) > MAX_KEYS:
            self._next.popitem(last=False)
        return 0.0
