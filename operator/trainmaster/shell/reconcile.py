"""The loop: observe, decide, commit, tell, act."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrackingStatus, TrainingRun
from trainmaster.core import Result, Snapshot, decide
from trainmaster.core.run.changes import write_due
from trainmaster.core.series import Point
from trainmaster.core.snapshot import CreateJob, Effect, Refusal, TrainerState, WriteRecord
from trainmaster.ports.clock import Clock
from trainmaster.ports.cluster import NAMESPACE_TERMINATING, Cluster, ConflictError, Observation, RefusedEffectError

logger = logging.getLogger(__name__)

RESYNC_SECONDS = 30
"""A living run is looked at this often even if nothing woke it: a lost wake-up costs half a minute, not a night."""

REFUSED_SECONDS = 30
"""A refused effect is tried again after so long: a person who grants a permission sees it work before they look away,
and a thousand runs in a namespace without quota ask for 33 Jobs a second, not for all that the queue can send."""

LEAVING_SECONDS = 600
"""In a namespace that is being deleted nothing new is ever made; the run goes before, or somebody keeps it."""


class RunSeries(Protocol):
    """What the reconciler needs to know of a run's reports."""

    def trainer_state(self, run: TrainingRun) -> TrainerState | None:
        """What the newest launch has reported."""

    def points(self, run: TrainingRun) -> tuple[Point, ...]:
        """The run's points in this rerun."""

    def tracking(self, run: TrainingRun) -> TrackingStatus | None:
        """Where its metrics are tracked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refused:
    """An effect that was refused, and when to try it again."""

    refusal: Refusal
    again: datetime


@dataclass(kw_only=True, slots=True)
class _Memory:
    """What this process knows of a run that status does not say; a new process does without."""

    uid: str
    last_write: datetime | None = None
    refused: dict[str, _Refused] = field(default_factory=dict)
    """By name of the object that the effect is about; only effects of decisions that are open."""

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        return tuple(refused.refusal for refused in self.refused.values())


class Reconciler:
    """Carries one run from what is seen to what is decided; killed at any step, it goes on from status."""

    def __init__(
        self, *, cluster: Cluster, clock: Clock, series: RunSeries, resync_seconds: float = RESYNC_SECONDS
    ) -> None:
        self._cluster = cluster
        self._resync_seconds = resync_seconds
        self._clock = clock
        self._series = series
        self._memories: dict[Key, _Memory] = {}

    async def reconcile(self, key: Key) -> datetime | None:
        """One pass over one run; returns when the next is due if nothing wakes it before."""
        now = self._clock.now()
        observation, result = await self._decide(key, now)
        if observation is None or result is None:
            self._memories.pop(key, None)
            return None
        run, memory = observation.run, self._memory(observation.run)
        due = write_due(run.status, result.status, last_write=memory.last_write, now=now)
        if due == now:
            try:
                run = await self._cluster.write_status(run, result.status)
            except ConflictError as error:
                logger.info("%s: %s; deciding again", key, error)
                return now
            memory.last_write = now
            _log(run, result)
            await self._cluster.emit(run, result.events)
        if await self._act_all(run, result.effects, memory) or due == now:
            return self._clock.now()
        return self._next(result, due, memory, now)

    def _memory(self, run: TrainingRun) -> _Memory:
        """What is remembered of a run; nothing of another one that had its name."""
        key, uid = run.metadata.key, run.metadata.uid
        memory = self._memories.get(key)
        if memory is None or memory.uid != uid:
            memory = self._memories[key] = _Memory(uid=uid)
        return memory

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
            refusals=self._memory(observation.run).refusals,
            trainer=self._series.trainer_state(observation.run),
            points=self._series.points(observation.run),
            tracking=self._series.tracking(observation.run),
            live=observation.live,
        )

    async def _act_all(self, run: TrainingRun, effects: Iterable[Effect], memory: _Memory) -> bool:
        """Carry out effects, those that were refused a short while ago apart; whether there is anything new to see."""
        wanted = {effect.name: effect for effect in effects}
        # What is not wanted any more was overtaken, or came true without us.
        memory.refused = {name: refused for name, refused in memory.refused.items() if name in wanted}
        changed = False
        for name, effect in wanted.items():
            before = memory.refused.get(name)
            if before is not None and self._clock.now() < before.again:
                continue
            try:
                await self._act(run, effect)
            except RefusedEffectError as error:
                refusal = Refusal(name=name, message=error.message)
                pause = LEAVING_SECONDS if error.reason == NAMESPACE_TERMINATING else REFUSED_SECONDS
                again = self._clock.now() + timedelta(seconds=pause)
                memory.refused[name] = _Refused(refusal=refusal, again=again)
                logger.warning("%s: %s; again in %d s", run.metadata.key, error, pause)
                changed |= before is None or before.refusal != refusal
            else:
                memory.refused.pop(name, None)
                changed = True
        return changed

    async def _act(self, run: TrainingRun, effect: Effect) -> None:
        if isinstance(effect, CreateJob):
            await self._cluster.create_job(run, effect)
        elif isinstance(effect, WriteRecord):
            await self._cluster.write_record(run, effect)
        else:
            await self._cluster.delete_job(run, effect)

    def _next(self, result: Result, due: datetime | None, memory: _Memory, now: datetime) -> datetime | None:
        moments = [moment for moment in (due, result.wake_at) if moment is not None]
        moments += [refused.again for refused in memory.refused.values()]
        if result.status.completion_time is None:
            moments.append(now + timedelta(seconds=self._resync_seconds))
        return min(moments, default=None)


def _log(run: TrainingRun, result: Result) -> None:
    """A line for each piece of news: what users read in Events, with what it is about as fields."""
    key = str(run.metadata.key)
    for event in result.events:
        about = {"run": key, "uid": run.metadata.uid, "launch": result.status.launch, "reason": event.reason}
        logger.info("%s: %s: %s", key, event.reason, event.message, extra=about)
