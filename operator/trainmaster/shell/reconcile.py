"""The loop: observe, decide, commit, tell, act."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Protocol

from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrackingStatus, TrainingRun
from trainmaster.core import Result, Snapshot, decide
from trainmaster.core.run.changes import write_due
from trainmaster.core.series import Point
from trainmaster.core.snapshot import CreateJob, Effect, TrainerState, WriteRecord
from trainmaster.ports.clock import Clock
from trainmaster.ports.cluster import Cluster, ConflictError, Observation

logger = logging.getLogger(__name__)

RESYNC_SECONDS = 30
"""A living run is looked at this often even if nothing woke it: a lost wake-up costs half a minute, not a night."""


class RunSeries(Protocol):
    """What the reconciler needs to know of a run's reports."""

    def trainer_state(self, run: TrainingRun) -> TrainerState | None:
        """What the newest launch has reported."""

    def points(self, run: TrainingRun) -> tuple[Point, ...]:
        """The run's points in this rerun."""

    def tracking(self, run: TrainingRun) -> TrackingStatus | None:
        """Where its metrics are tracked."""


class Reconciler:
    """Carries one run from what is seen to what is decided; killed at any step, it goes on from status."""

    def __init__(self, *, cluster: Cluster, clock: Clock, series: RunSeries) -> None:
        self._cluster = cluster
        self._clock = clock
        self._series = series
        self._last_write: dict[str, datetime] = {}

    async def reconcile(self, key: Key) -> datetime | None:
        """One pass over one run; returns when the next is due if nothing wakes it before."""
        now = self._clock.now()
        observation, result = await self._decide(key, now)
        if observation is None or result is None:
            return None
        run = observation.run
        due = write_due(run.status, result.status, last_write=self._last_write.get(run.metadata.uid), now=now)
        if due == now:
            try:
                run = await self._cluster.write_status(run, result.status)
            except ConflictError as error:
                logger.info("%s: %s; deciding again", key, error)
                return now
            self._last_write[run.metadata.uid] = now
            await self._cluster.emit(run, result.events)
        for effect in result.effects:
            await self._act(run, effect)
        if due == now or result.effects:
            return self._clock.now()
        return self._next(result, due, now)

    async def _decide(self, key: Key, now: datetime) -> tuple[Observation | None, Result | None]:
        for live in (False, True):
            observation = await self._cluster.observe(key, live=live)
            if observation is None:
                return None, None
            result = decide(self._snapshot(observation), now)
            if not result.look_live or observation.live:
                return observation, result
        message = f"{key}: the cluster port answered a live read with cached data"
        raise AssertionError(message)

    def _snapshot(self, observation: Observation) -> Snapshot:
        return Snapshot(
            run=observation.run,
            jobs=observation.jobs,
            stray_pods=observation.stray_pods,
            owner=observation.owner,
            recorded=observation.recorded,
            earlier=observation.earlier,
            trainer=self._series.trainer_state(observation.run),
            points=self._series.points(observation.run),
            tracking=self._series.tracking(observation.run),
            live=observation.live,
        )

    async def _act(self, run: TrainingRun, effect: Effect) -> None:
        if isinstance(effect, CreateJob):
            await self._cluster.create_job(run, effect)
        elif isinstance(effect, WriteRecord):
            await self._cluster.write_record(run, effect)
        else:
            await self._cluster.delete_job(run, effect)

    def _next(self, result: Result, due: datetime | None, now: datetime) -> datetime | None:
        moments = [moment for moment in (due, result.wake_at) if moment is not None]
        if result.status.completion_time is None:
            moments.append(now + timedelta(seconds=RESYNC_SECONDS))
        return min(moments, default=None)
