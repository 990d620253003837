"""Which reports wake a run: those with news at once, the others at the pace that launchers are asked for.

A launcher that reports more often than it was asked, or one that sends a backlog, costs its run no more reconciles.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Protocol

from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.ports.clock import Clock

QUIET_SECONDS: Final = 4.0
"""Between two reconciles for quiet reports of one run. Launchers report every 5 s give or take a fifth: a report at
the regular pace is never kept waiting."""


class Wake(Protocol):
    """How the work queue is woken."""

    def __call__(self, key: Key, *, at: datetime | None = None) -> None:
        """Reconcile this key now, or at a time."""


class ReportWakeups:
    """Wakes runs for their reports: `urgent` and `quiet` are for `ReportDesk`'s `on_report` and `on_quiet_report`."""

    def __init__(self, *, clock: Clock, wake: Wake) -> None:
        self._clock = clock
        self._wake = wake
        self._due: dict[str, datetime] = {}
        """By UID, from when on a quiet report wakes at once."""

    def urgent(self, run: TrainingRun) -> None:
        """A report with news."""
        self._due[run.metadata.uid] = self._clock.now() + timedelta(seconds=QUIET_SECONDS)
        self._wake(run.metadata.key)

    def quiet(self, run: TrainingRun) -> None:
        """A report that only goes on as the one before did."""
        uid, now = run.metadata.uid, self._clock.now()
        due = self._due.get(uid, now)
        if due <= now:
            # What is due is done, or about to be: the next one has its time from here.
            self._due[uid] = now + timedelta(seconds=QUIET_SECONDS)
            due = now
        self._wake(run.metadata.key, at=due)

    def forget(self, uid: str) -> None:
        """Forget a run that is gone."""
        self._due.pop(uid, None)
