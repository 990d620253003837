"""Rates: so many at once, so many in the long run, each key for itself."""

from __future__ import annotations

import pytest

from trainmaster.shell import rate_limit
from trainmaster.shell.rate_limit import Rate, RateLimit

RATE = Rate(per_second=2, burst=3)


def taken(limit: RateLimit, key: str, *times: float) -> list[float]:
    return [limit.take(key, now) for now in times]


def test_a_burst_passes_and_the_next_is_told_how_long_to_wait() -> None:
    assert taken(RateLimit(RATE), "pod", 10, 10, 10, 10) == [0, 0, 0, 0.5]


def test_one_that_waited_as_told_passes() -> None:
    assert taken(RateLimit(RATE), "pod", 10, 10, 10, 10.5, 10.5) == [0, 0, 0, 0, 0.5]


def test_refusals_cost_nothing() -> None:
    assert taken(RateLimit(RATE), "pod", *[10] * 100)[-1] == 0.5


def test_a_quiet_time_fills_the_bucket_but_never_over() -> None:
    assert taken(RateLimit(RATE), "pod", 10, 1000, 1000, 1000, 1000) == [0, 0, 0, 0, 0.5]


def test_keys_do_not_share() -> None:
    limit = RateLimit(RATE)
    taken(limit, "loud", 10, 10, 10)
    assert limit.take("quiet", 10) == 0


def test_asking_takes_nothing() -> None:
    limit = RateLimit(RATE)
    taken(limit, "pod", 10, 10, 10)
    assert [limit.wait("pod", 10), limit.wait("pod", 10), limit.wait("other", 10)] == [0.5, 0.5, 0]


def test_the_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_KEYS", 2)
    limit = RateLimit(Rate(per_second=1, burst=1))
    assert [limit.take(key, 0) for key in ("a", "b", "c")] == [0, 0, 0]
    assert limit.take("c", 0) == 1
    assert limit.take("a", 0) == 0
