"""Where reports arrive: who may say what, what is kept of it, and what is answered. Knows nothing of HTTP.

The desk answers from committed status only: a replica that lost its lease can say nothing new.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import attrgetter

from trainmaster.api.plan import PROTOCOL, Plan
from trainmaster.api.protocol import Entry, EntryType, Reply, Report
from trainmaster.api.trainingrun import Progress, TrackingStatus, TrainingRun
from trainmaster.core.plan import awaits_plan, build_plan
from trainmaster.core.run.words import crash_words
from trainmaster.core.series import Point
from trainmaster.core.snapshot import TrainerState
from trainmaster.ports.clock import Clock
from trainmaster.ports.identity import LaunchIdentity
from trainmaster.ports.series import KINDS, SeriesStore

STEP_ORDER = attrgetter("step", "generation")
REPORT_SECONDS = 5.0
"""Pace that launchers are asked for."""


class RefusedError(Exception):
    """A report that is not taken; `status` is the HTTP status that says why, `later` whether time may heal it."""

    def __init__(self, status: int, message: str, *, later: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.later = later


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The newest report of a launch, and how fast it trains."""

    report: Report
    first_step: int
    first_seen: datetime
    seen: datetime
    """When it came."""
    steps_per_second: float | None = None


class ReportDesk:
    """Takes reports, keeps their entries in the series store, and knows the state of each run's trainer."""

    def __init__(
        self,
        *,
        series: SeriesStore,
        clock: Clock,
        find_run: Callable[[str], TrainingRun | None],
        localise: Callable[[Plan], Plan],
        on_report: Callable[[TrainingRun], None],
        on_quiet_report: Callable[[TrainingRun], None] | None = None,
        is_gone: Callable[[str], bool] | None = None,
    ) -> None:
        """`on_quiet_report` is called, if given, in place of `on_report` for reports whose news can wait.

        `is_gone` says of a UID whether a run that had it is known to be deleted.
        """
        self._series = series
        self._clock = clock
        self._find_run = find_run
        self._localise = localise
        self._on_report = on_report
        self._on_quiet_report = on_quiet_report or on_report
        self._is_gone = is_gone or (lambda _: False)
        self._plans: dict[str, tuple[TrainingRun, Plan]] = {}
        self._headers: dict[str, Header] = {}
        self._tracking: dict[tuple[str, int], TrackingStatus] = {}

    def take(self, identity: LaunchIdentity, report: Report) -> Reply:
        """Take one report. Raises RefusedError when it may not be taken, SeriesError when it cannot be kept."""
        run = self._check(identity, report)
        uid, status = run.metadata.uid, run.status
        # A series that has less than it once said has lost its memory: entries behind the gap would stay there unread.
        lost = self._series.have_seq(uid, report.launch) < (report.after_seq or 0)
        entries = () if lost else report.entries
        have_seq = self._series.take(uid, rerun=status.reruns, launch=report.launch, entries=entries)
        before = self._headers.get(uid)
        self._note(report)
        tell = self._on_quiet_report if before is not None and is_quiet(report, before.report) else self._on_report
        tell(run)
        return Reply(have_seq=have_seq, plan=self._plan(run), next_report_seconds=REPORT_SECONDS)

    def forget(self, uid: str) -> None:
        """Forget a run that is gone, or has been finished for so long that nobody asks; its series is the store's."""
        self._headers.pop(uid, None)
        self._plans.pop(uid, None)
        for key in [key for key in self._tracking if key[0] == uid]:
            del self._tracking[key]

    def _plan(self, run: TrainingRun) -> Plan:
        """The plan in force; made once for each stored version of the run, not for each report."""
        uid = run.metadata.uid
        known = self._plans.get(uid)
        if known is not None and known[0] is run:
            return known[1]
        plan = self._localise(build_plan(run, run.status))
        self._plans[uid] = (run, plan)
        return plan

    def check_protocol(self, version: int) -> None:
        """Raise RefusedError for a version of the protocol that is not spoken here."""
        if version != PROTOCOL:
            raise RefusedError(426, f"protocol {version} is not spoken here; this operator speaks {PROTOCOL}")

    def _check(self, identity: LaunchIdentity, report: Report) -> TrainingRun:
        self.check_protocol(report.protocol)
        if (report.run_uid, report.launch) != (identity.run_uid, identity.launch):
            raise RefusedError(403, f"the token is of launch {identity.launch} of run {identity.run_uid}")
        run = self._find_run(report.run_uid)
        if run is None and self._is_gone(report.run_uid):
            raise RefusedError(410, f"run {report.run_uid} is deleted")
        # A launcher ends its training at a 410. One that is ahead of what is known here is no old one: we are behind.
        if run is None or report.launch > run.status.launch or run.status.plan is None:
            message = f"launch {report.launch} of run {report.run_uid} is not known here yet"
            raise RefusedError(503, message, later=True)
        if identity.namespace and identity.namespace != run.metadata.namespace:
            raise RefusedError(403, f"the pod is in {identity.namespace}, the run in {run.metadata.namespace}")
        if report.launch < run.status.launch:
            raise RefusedError(410, f"launch {report.launch} is not current; that is {run.status.launch}")
        if run.spec.rerun != run.status.observed_rerun or awaits_plan(run.status):
            raise RefusedError(410, f"launch {report.launch} belongs to a series that spec.rerun has ended")
        return run

    def _note(self, report: Report) -> None:
        now, known = self._clock.now(), self._headers.get(report.run_uid)
        fresh = known is None or known.report.launch != report.launch or report.step < known.first_step
        # Imports and data come before the first step, and a resume jumps to its step: neither is speed.
        if known is None or fresh or known.report.phase == "starting":
            self._headers[report.run_uid] = Header(report=report, first_step=report.step, first_seen=now, seen=now)
            return
        seconds, steps = (now - known.first_seen).total_seconds(), report.step - known.first_step
        rate = steps / seconds if seconds > 0 and steps > 0 else known.steps_per_second
        self._headers[report.run_uid] = Header(
            report=report, first_step=known.first_step, first_seen=known.first_seen, seen=now, steps_per_second=rate
        )

    def trainer_state(self, run: TrainingRun) -> TrainerState | None:
        """What the newest launch has reported; after a restart of this process, what the series kept of it."""
        uid, rerun, launch = run.metadata.uid, run.status.reruns, run.status.launch
        header = self._headers.get(uid)
        entries = self._series.entries(uid, rerun=rerun, launch=launch)
        current = header if header is not None and header.report.launch == launch else None
        if current is None and not entries:
            return None
        checkpoints = [e.checkpoint for e in entries if e.checkpoint is not None]
        crashes = [e.crash for e in entries if e.type == EntryType.CRASH and e.crash is not None]
        verdicts = [e.verdict for e in entries if e.verdict is not None]
        report = current.report if current else _recalled(run, entries)
        return TrainerState(
            launch=launch,
            generation=report.generation,
            phase=report.phase,
            heard_at=current.seen if current else None,
            storage=report.storage,
            step=report.step,
            epoch=report.epoch,
            total_steps=report.total_steps,
            total_epochs=report.total_epochs,
            steps_per_second=current.steps_per_second if current else None,
            crashes=len(crashes),
            last_crash=crash_words(crashes[-1]) if crashes else "",
            checkpoint=checkpoints[-1] if checkpoints else None,
            applied={e.directive: e.step or 0 for e in entries if e.type == EntryType.APPLIED and e.directive},
            verdict=verdicts[-1] if verdicts else None,
        )

    def points(self, run: TrainingRun) -> tuple[Point, ...]:
        """All points of this rerun, oldest step first."""
        uid, rerun = run.metadata.uid, run.status.reruns
        told = [self._series.points(uid, rerun=rerun, kind=kind) for kind in KINDS]
        some = [points for points in told if points]
        return some[0] if len(some) == 1 else tuple(sorted(chain.from_iterable(some), key=STEP_ORDER))

    def tracking(self, run: TrainingRun) -> TrackingStatus | None:
        """Where the metrics of this rerun are tracked, if a tracker has said so."""
        return self._tracking.get((run.metadata.uid, run.status.reruns), run.status.mlflow)

    def tracked(self, uid: str, *, rerun: int, where: TrackingStatus) -> None:
        """Note where the metrics of a rerun are tracked."""
        self._tracking[uid, rerun] = where


def is_quiet(report: Report, before: Report) -> bool:
    """Whether a report only goes on as the one before did: same state but for the step, finite points, no events."""
    then, now = ((each.launch, each.generation, each.phase, each.storage) for each in (before, report))
    if then != now:
        return False
    return all(
        entry.type == EntryType.POINT and all(map(math.isfinite, entry.metrics.values())) for entry in report.entries
    )


def _recalled(run: TrainingRun, entries: Sequence[Entry]) -> Report:
    """The header of a launch that was not heard yet by this process, as far as its entries and status tell."""
    told = run.status.progress or Progress()
    saved = [(e.checkpoint.step, e.checkpoint.epoch) for e in entries if e.checkpoint is not None]
    step, epoch = max([(told.step, told.epoch), *saved])
    ended = any(entry.verdict is not None for entry in entries)
    return Report(
        run_uid=run.metadata.uid,
        launch=run.status.launch,
        generation=max(entry.generation for entry in entries),
        phase="done" if ended else "starting",
        step=step,
        epoch=epoch,
        total_steps=told.total_steps,
        total_epochs=told.total_epochs,
    )
