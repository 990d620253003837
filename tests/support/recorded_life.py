"""The life of one run, driven pass by pass over any Cluster at a scripted time, and recorded.

Each pass is what the reconciler does: look at the server, decide, write status, act. Between two passes the driver
waits until the cluster is still (every Job runs or has ended, and none is on its way out), so that a life has the same
passes wherever it is led. Of what a cluster shows only three things are replaced: a Job's beginning and end are dated
by the script's clock, since decisions reckon with them; the session that local mode shows as each run's owner is left
out, and so is where a pod runs, or may run.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from tests.support.cluster_stage import PATIENCE_SECONDS
from tests.support.runs import at, trainer_of
from trainmaster.api.labels import UID_DIGITS
from trainmaster.api.protocol import CheckpointManifest
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.core import Result, Snapshot, decide
from trainmaster.core.snapshot import CreateJob, DeleteJob, ObservedJob, TrainerState, WriteRecord
from trainmaster.ports.cluster import Cluster, Observation

Wire = dict[str, Any]

PASS_SECONDS = 61
"""Between two passes, by the script's clock: no launch is a quick end, so none has to wait."""
MOST_PASSES = 100
CHECKPOINT = CheckpointManifest(path="1/step-7.pt", step=7, epoch=1, sha256="ab" * 32, size_bytes=9)
PROGRAM = """
import os, pathlib, signal, sys, time
from trainmaster_launcher.sdk import connect
session, cue = connect(), pathlib.Path(sys.argv[1])
while not cue.exists():
    time.sleep(0.02)
word = cue.read_text()
cue.unlink()
if word == "killed":
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
if word == "retry":
    sys.exit(75)
session.done(metrics={"val_loss": 0.25}, message="well")
"""
"""A training that ends as the cue says, when there is one."""


class LifeBench(ABC):
    """A cluster in which launches end on demand, and what a user wants changes."""

    cluster: Cluster

    @abstractmethod
    async def end(self, run: TrainingRun, how: str) -> None:
        """End the living launch: `killed`, `retry` or `done`."""

    @abstractmethod
    async def edit(self, run: TrainingRun, **spec: object) -> None:
        """Change fields of spec, as its user would."""


@dataclass(kw_only=True)
class Life:
    """One run's life on a bench, and the record of it."""

    bench: LifeBench
    run: TrainingRun
    trainer: TrainerState | None = None
    passes: int = 0
    moments: dict[tuple[str, str], datetime] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    """One JSON line a pass: what was seen, and what was decided."""

    @property
    def now(self) -> datetime:
        return at(self.passes * PASS_SECONDS)

    async def lead(self) -> None:
        """create, run, checkpoint, crash, disruption, suspend, resume, success."""
        await self.rest()
        self.trainer = trainer_of(step=7, checkpoint=CHECKPOINT)
        await self.rest()
        for how in ("killed", "retry"):
            await self.end(how)
        for suspend in (True, False):
            await self.bench.edit(self.run, suspend=suspend)
            await self.told(suspend=suspend)
            await self.rest()
        self.trainer = trainer_of(launch=4, step=90)
        await self.end("done")

    async def told(self, *, suspend: bool) -> None:
        """Return when the cluster shows an edit of itself: nobody would look before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            seen = await self.bench.cluster.observe(self.run.metadata.key, live=False)
            if seen is not None and seen.run.spec.suspend == suspend:
                return
            await asyncio.sleep(0.02)
        message = f"the edit was not shown in {PATIENCE_SECONDS:g} s"
        raise AssertionError(message)

    async def end(self, how: str) -> None:
        """End the living launch, and pass until nothing changes."""
        launch = (await self.look()).run.status.launch
        await self.bench.end(self.run, how)
        await self.still(lambda jobs: any(job.finished and job.launch == launch for job in jobs))
        await self.rest()

    async def rest(self) -> None:
        """Pass until a pass changes nothing."""
        for _ in range(MOST_PASSES):
            if not await self.one_pass():
                return
        message = f"no rest after {MOST_PASSES} passes: {self.lines[-1]}"
        raise AssertionError(message)

    async def one_pass(self) -> bool:
        """Look, decide, write, act; whether anything changed."""
        seen = await self.still(lambda _: True)
        self.passes += 1
        seen = replace(seen, jobs=tuple(self.dated(job) for job in seen.jobs), owner=None)
        snapshot = Snapshot(
            run=seen.run, jobs=seen.jobs, stray_pods=seen.stray_pods, recorded=seen.recorded, earlier=seen.earlier,
            live=seen.live, trainer=self.trainer if self.trainer_speaks(seen) else None,
        )  # fmt: skip
        result = decide(snapshot, self.now)
        self.lines.append(self.masked(seen, result))
        changed = result.status != seen.run.status
        if changed:
            self.run = await self.bench.cluster.write_status(seen.run, result.status)
        await self.act(result)
        return changed or bool(result.effects)

    def trainer_speaks(self, seen: Observation) -> bool:
        """Whether the trainer is of the newest launch, as the report desk sees to."""
        return self.trainer is not None and self.trainer.launch == seen.run.status.launch

    async def act(self, result: Result) -> None:
        cluster = self.bench.cluster
        for effect in result.effects:
            if isinstance(effect, CreateJob):
                await cluster.create_job(self.run, effect)
            elif isinstance(effect, DeleteJob):
                await cluster.delete_job(self.run, effect)
            else:
                assert isinstance(effect, WriteRecord)
                await cluster.write_record(self.run, effect)

    async def look(self) -> Observation:
        seen = await self.bench.cluster.observe(self.run.metadata.key, live=True)
        assert seen is not None
        return seen

    async def still(self, what: Callable[[tuple[ObservedJob, ...]], bool]) -> Observation:
        """What is seen as soon as nothing moves, and it looks so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            seen = await self.look()
            jobs, stray = seen.jobs, seen.stray_pods
            if not stray and all(is_still(job) for job in jobs) and what(jobs):
                return seen
            await asyncio.sleep(0.02)
        message = f"it did not come to look so in {PATIENCE_SECONDS:g} s: {seen.jobs}"
        raise AssertionError(message)

    def dated(self, job: ObservedJob) -> ObservedJob:
        """The Job with moments of the script, when each was first seen, and without a place: local mode has none."""
        since, end = job.running_since, job.ended_at
        return replace(
            job,
            node="",
            placement="",
            created_at=None,
            running_since=self.moments.setdefault((job.uid, "since"), self.now) if since else None,
            ended_at=self.moments.setdefault((job.uid, "end"), self.now) if end else None,
        )

    def masked(self, seen: Observation, result: Result) -> str:
        """The pass as JSON, without what two clusters cannot have in common: UIDs, names, versions, creation times."""
        meta = seen.run.metadata
        wire = {
            "seen": TypeAdapter(Observation).dump_python(seen, mode="json"),
            "decided": TypeAdapter(Result).dump_python(result, mode="json"),
        }
        stored = wire["seen"]["run"]["metadata"]
        wire["seen"]["run"]["metadata"] = {name: stored[name] for name in ("generation", "deletion_timestamp")}
        text = json.dumps(wire, sort_keys=True)
        digits = meta.uid.replace("-", "")[:UID_DIGITS]
        names = {job.uid: f"<job {job.launch}>" for job in seen.jobs}
        names |= {meta.uid: "<uid>", digits: "<digits>", meta.name: "<name>", f'"{meta.namespace}"': '"<namespace>"'}
        for name, mask in names.items():
            text = text.replace(name, mask)
        return text


def is_still(job: ObservedJob) -> bool:
    """Whether a Job runs, or has ended with all that was of it."""
    return job.finished or (job.state == "Running" and job.live_pods == 1 and not job.deleting)
