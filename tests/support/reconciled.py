"""A Cluster in memory under a Reconciler: what it is asked for, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.support.runs import (
    T0,
    UID,
    job_of,
    message_of,
    run_of,
    status_of,
    trainer_of,
    verdict_of,
)
from trainmaster.api.objects import Key
from trainmaster.api.plan import Plan
from trainmaster.api.runrecord import RunRecordSpec
from trainmaster.api.trainingrun import TrackingStatus, TrainingRun, TrainingRunStatus
from trainmaster.core.run.changes import QUIET_WRITE_SECONDS
from trainmaster.core.run.records import unwritten
from trainmaster.core.series import Point
from trainmaster.core.snapshot import CreateJob, DeleteJob, Event, ObservedJob, TrainerState, WriteRecord
from trainmaster.ports.cluster import ConflictError, Observation, RefusedEffectError
from trainmaster.shell.reconcile import Reconciler

KEY = Key("default", "market")


class World:
    """A Cluster in memory with a cache that may be stale, a clock and a series; `log` notes what was asked of it."""

    def __init__(self, run: TrainingRun, *jobs: ObservedJob) -> None:
        self.run: TrainingRun | None = run.model_copy(
            update={"metadata": run.metadata.model_copy(update={"resource_version": "1"})}
        )
        self.jobs = list(jobs)
        self.always_live = False
        self.conflicts = 0
        self.time = T0
        self.trainer: TrainerState | None = None
        self.tracked: TrackingStatus | None = None
        self.records: dict[str, RunRecordSpec] = {}
        self.earlier: RunRecordSpec | None = None
        self.refuses_records = False
        self.refuses_jobs = ""
        self.refusal_reason = "Forbidden"
        """Why Jobs are neither created nor deleted; empty: they are."""
        self.log: list[str] = []
        self.events: list[Event] = []
        self.reconciler = Reconciler(cluster=self, clock=self, series=self)

    def reconcile(self) -> datetime | None:
        """One pass; what was logged before is forgotten."""
        self.log.clear()
        return asyncio.run(self.reconciler.reconcile(KEY))

    def settle(self) -> None:
        """Passes until nothing is due at once, and ten more seconds pass."""
        for _ in range(20):
            again = self.reconcile()
            if again is None or again > self.time:
                break
        self.pass_time(QUIET_WRITE_SECONDS + 1)

    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    @property
    def writes(self) -> int:
        return self.log.count("write")

    # -- clock, series --
    def now(self) -> datetime:
        return self.time

    def trainer_state(self, run: TrainingRun) -> TrainerState | None:
        assert run.metadata.uid == UID
        return self.trainer

    def points(self, run: TrainingRun) -> tuple[Point, ...]:
        assert run.metadata.uid == UID
        return ()

    def tracking(self, run: TrainingRun) -> TrackingStatus | None:
        assert run.metadata.uid == UID
        return self.tracked

    # -- Cluster --
    async def observe(self, key: Key, *, live: bool) -> Observation | None:
        assert key == KEY
        self.log.append("look" if live else "glance")
        if self.run is None:
            return None
        return Observation(
            run=self.run,
            jobs=tuple(self.jobs),
            recorded=frozenset(self.records),
            earlier=self.earlier,
            live=live or self.always_live,
        )

    async def write_status(self, run: TrainingRun, status: TrainingRunStatus) -> TrainingRun:
        assert self.run is not None
        if self.conflicts:
            self.conflicts -= 1
            version = str(int(self.run.metadata.resource_version) + 1)
            metadata = self.run.metadata.model_copy(update={"resource_version": version})
            self.run = self.run.model_copy(update={"metadata": metadata})
        if run.metadata.resource_version != self.run.metadata.resource_version:
            self.log.append("conflict")
            raise ConflictError("changed")
        self.log.append("write")
        version = str(int(run.metadata.resource_version) + 1)
        metadata = run.metadata.model_copy(update={"resource_version": version})
        self.run = run.model_copy(update={"status": status, "metadata": metadata})
        return self.run

    async def create_job(self, run: TrainingRun, effect: CreateJob) -> None:
        self.log.append("create")
        self._refuse()
        assert run == self.run, "an effect is of the object as it is stored"
        self.jobs.append(job_of("Pending", launch=effect.plan.launch, name=effect.name, created_at=self.time))

    async def delete_job(self, run: TrainingRun, effect: DeleteJob) -> None:
        assert run.metadata.uid == UID
        self.log.append("delete")
        self._refuse()
        self.jobs = [job for job in self.jobs if job.uid != effect.uid]

    def _refuse(self) -> None:
        if self.refuses_jobs:
            raise RefusedEffectError(reason=self.refusal_reason, message=self.refuses_jobs)

    async def write_record(self, run: TrainingRun, effect: WriteRecord) -> None:
        assert run.metadata.uid == UID
        self.log.append("record")
        if self.refuses_records:
            raise PermissionError("runrecords is forbidden")
        self.records[effect.name] = effect.record

    async def emit(self, run: TrainingRun, events: Sequence[Event]) -> None:
        assert run.metadata.uid == UID
        if events:
            self.log.append("tell")
        self.events += events

    def localise(self, plan: Plan) -> Plan:
        return plan


def training() -> World:
    world = World(run_of(), job_of("Running", launch=1))
    world.run = run_of(status=status_of(start_time=T0, running_time=T0), meta={"resource_version": "1"})
    world.settle()
    world.trainer = trainer_of(step=1)
    world.reconcile()
    return world


def finished() -> World:
    """A run whose end is not recorded yet."""
    ending = job_of("Complete", message=message_of(verdict_of()))
    world = World(run_of(status=status_of(start_time=T0)), ending)
    world.reconcile()
    assert world.run is not None
    assert unwritten(world.run.status)
    return world
