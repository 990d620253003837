"""The clock of a session: wall-clock time at its start, and no jump after that."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from trainmaster.adapters import system_clock
from trainmaster.adapters.system_clock import SystemClock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Machine:
    """A machine whose two clocks a test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = START, 500.0
        machine = self

        class Wall(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # a narrower stand-in
                assert tz is UTC
                return machine.wall

        monkeypatch.setattr(system_clock, "datetime", Wall)
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic)

    def pass_time(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds


@pytest.mark.parametrize("jump", [timedelta(days=3650), timedelta(days=-3650), timedelta(0)])
def test_a_wall_clock_that_jumps_changes_no_time(monkeypatch: pytest.MonkeyPatch, jump: timedelta) -> None:
    machine = Machine(monkeypatch)
    clock = SystemClock()
    assert clock.now() == START
    machine.pass_time(10)
    machine.wall += jump
    machine.pass_time(5)
    assert clock.now() == START + timedelta(seconds=15)


def test_a_new_session_begins_with_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    SystemClock()
    machine.wall += timedelta(hours=1)
    assert SystemClock().now() == START + timedelta(hours=1)


def test_it_is_the_time_of_the_machine() -> None:
    before = datetime.now(UTC)
    assert before <= SystemClock().now() <= datetime.now(UTC)
