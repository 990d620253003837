"""Which reports wake a run, and when."""

from __future__ import annotations

from datetime import datetime

from tests.support.runs import UID, at, run_of
from trainmaster.api.objects import Key
from trainmaster.shell.report_wakeups import QUIET_SECONDS, ReportWakeups

RUN = run_of()


class Bench:
    """A clock to turn, and the wake-ups that were asked for, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.woken: list[float | None] = []
        self.wakeups = ReportWakeups(clock=self, wake=self.wake)

    def now(self) -> datetime:
        return at(self.seconds)

    def wake(self, key: Key, *, at: datetime | None = None) -> None:
        assert key == RUN.metadata.key
        self.woken.append(None if at is None else (at - self.now()).total_seconds())

    def quiet(self, *moments: float) -> list[float | None]:
        """How long each of these quiet reports is kept waiting."""
        for self.seconds in moments:
            self.wakeups.quiet(RUN)
        return self.woken


def test_reports_at_the_regular_pace_and_its_jitter_never_wait() -> None:
    assert Bench().quiet(0, 4, 10, 14.5) == [0, 0, 0, 0]


def test_a_burst_of_quiet_reports_wakes_once_now_and_once_later() -> None:
    assert Bench().quiet(0, 1, 2, 3) == [0, QUIET_SECONDS - 1, QUIET_SECONDS - 2, QUIET_SECONDS - 3]


def test_news_wakes_at_once_and_quiet_ones_after_it_wait() -> None:
    bench = Bench()
    bench.quiet(0)
    bench.seconds = 1
    bench.wakeups.urgent(RUN)
    assert bench.quiet(2) == [0, None, QUIET_SECONDS - 1]


def test_a_forgotten_run_begins_anew() -> None:
    bench = Bench()
    bench.quiet(0)
    bench.wakeups.forget(UID)
    assert bench.quiet(1) == [0, 0]
