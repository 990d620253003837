"""One run in a cluster under test, with words for what is done to it and what is seen of it.

`Bench` is all that the suite of `cluster_contract` asks of an adapter; `Stage` drives one run on it.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.support.runs import T0, decision_of
from trainmaster.api.conditions import DecisionKind, Phase
from trainmaster.api.labels import job_name
from trainmaster.api.runrecord import RunRecordSpec
from trainmaster.api.trainingrun import PlanStatus, TrainingRun, spec_hash
from trainmaster.core.plan import build_plan
from trainmaster.core.snapshot import CreateJob, ObservedJob, WriteRecord
from trainmaster.ports.cluster import Cluster, Observation

PATIENCE_SECONDS = 60.0
DONE = "from trainmaster_launcher.sdk import connect; connect().done(metrics={'loss': 0.5}, message='well')"
SLEEP = "import time; time.sleep(600)"


class Bench(ABC):
    """What the suite needs of one adapter: a cluster with cores, and a way to put a run into it."""

    cluster: Cluster

    @abstractmethod
    async def events(self) -> list[str]:
        """Reason and message of each Event told so far, in order."""

    @abstractmethod
    async def store(self, run: TrainingRun) -> TrainingRun:
        """Put a run into the cluster, as its user would; its stored form."""

    @abstractmethod
    async def remove(self, run: TrainingRun) -> None:
        """Take a run away, as its user would."""

    @abstractmethod
    async def queue(self, job: str) -> None:
        """Hold a Job that will find no room, where the cluster does not do that by itself."""

    @abstractmethod
    async def admit(self, job: str) -> None:
        """Let a held Job run, where the cluster does not do that by itself."""


@dataclass(kw_only=True)
class Stage:
    """One run in a cluster, with words for what is done to it."""

    bench: Bench
    run: TrainingRun

    @property
    def cluster(self) -> Cluster:
        return self.bench.cluster

    def name(self, launch: int = 1) -> str:
        """The name of a launch's Job."""
        return job_name(self.run.metadata.name, uid=self.run.metadata.uid, launch=launch)

    async def create(self, launch: int = 1) -> str:
        """Create the Job of a launch; its name."""
        plan = PlanStatus(generation=1, base_generation=1, hyperparameters={})
        status = self.run.status.model_copy(update={"launch": launch, "plan": plan})
        name = self.name(launch)
        await self.cluster.create_job(self.run, CreateJob(name=name, plan=build_plan(self.run, status)))
        return name

    def record(self, **fields: Any) -> RunRecordSpec:  # noqa: ANN401 - fields of a record
        """A record of the run's success."""
        base: dict[str, Any] = {
            "run_name": self.run.metadata.name,
            "run_uid": self.run.metadata.uid,
            "spec_hash": spec_hash(self.run),
            "outcome": Phase.SUCCEEDED,
            "reason": "Completed",
            "completion_time": T0,
            "metrics": {"val_loss": "0.25"},
        }
        return RunRecordSpec(**(base | fields))

    async def write_record(self, record: RunRecordSpec) -> None:
        await self.cluster.write_record(self.run, WriteRecord(name=record.name, record=record, labels=record.labels))

    async def decide_record(self, record: RunRecordSpec) -> None:
        """Write the decision to record into status: only such records are looked for."""
        decision = decision_of(DecisionKind.RECORD, id=record.name, record=record)
        status = self.run.status.model_copy(update={"decisions": (*self.run.status.decisions, decision)})
        self.run = await self.cluster.write_status(self.run, status)

    async def recreate(self, run: TrainingRun) -> RunRecordSpec | None:
        """Delete the run and create this one; what that is seen to take over."""
        await self.remove()
        self.run = await self.bench.store(run)
        return (await self.look()).earlier

    async def remove(self) -> None:
        """Delete the run; returns when the cluster has been told of it, as its users are woken only then."""
        await self.bench.remove(self.run)
        assert await self.cached(None) is None

    async def look(self) -> Observation:
        seen = await self.cluster.observe(self.run.metadata.key, live=True)
        assert seen is not None
        assert seen.live
        return seen

    async def job(self, launch: int = 1) -> ObservedJob | None:
        return next((job for job in (await self.look()).jobs if job.launch == launch), None)

    async def seen(self, what: Callable[[ObservedJob], bool], *, launch: int = 1) -> ObservedJob:
        """The Job, as soon as it looks so."""
        async for job in self.looks(launch):
            if job is not None and what(job):
                return job
        message = (
            f"launch {launch} did not come to look so within {PATIENCE_SECONDS:g} s; now: {await self.job(launch)}"
        )
        raise AssertionError(message)

    async def gone(self, *, launch: int = 1) -> None:
        """Returns when the Job is not seen any more."""
        async for job in self.looks(launch):
            if job is None:
                return
        message = f"launch {launch} is still there after {PATIENCE_SECONDS:g} s: {await self.job(launch)}"
        raise AssertionError(message)

    async def cached(self, expected: Observation | None) -> Observation | None:
        """What is seen without a live look, as soon as it is what is expected, or when patience is over."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            seen = await self.cluster.observe(self.run.metadata.key, live=False)
            # A cluster whose every look is live may say so.
            seen = replace(seen, live=True) if seen is not None else None
            if seen == expected or time.monotonic() > deadline:
                return seen
            await asyncio.sleep(0.02)

    async def looks(self, launch: int) -> AsyncIterator[ObservedJob | None]:
        """One look after the other, for as long as patience lasts."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            yield await self.job(launch)
            await asyncio.sleep(0.02)


def python(program: str, *arguments: str, name: str = "conform", **spec: Any) -> TrainingRun:  # noqa: ANN401 - fields of spec
    """A run whose training is a Python program."""
    base: dict[str, Any] = {
        "workload": "custom",
        "command": ["python", "-c", program, *arguments],
        "resources": {"cpu": 1},
        "terminationGracePeriodSeconds": 5,
    }
    return TrainingRun.model_validate({"metadata": {"name": name}, "spec": base | spec})


def ends(code: int) -> str:
    return f"import sys; print('code {code}', file=sys.stderr); sys.exit({code})"
