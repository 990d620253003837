"""One life, led on local mode's cluster and on a real API server: what is seen and decided is the same, byte for byte.

Local mode goes first, with real launchers and training processes: its life is recorded, the exit codes and last words
of its launchers too. Then pods of the API server end with those, and the same script is led there. What a cluster shows
of Jobs is made by each adapter from its own world; every status goes through each adapter's store and comes back in the
next look. So equal lines prove that both show the same Jobs, keep the same status, and are told to do the same.

It does not prove what the script leaves out: looks between two states, caches that lag, writes that fail.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_runs import CLAIM, fresh_namespace
from tests.support.cluster_stage import python
from tests.support.control_plane import ControlPlane
from tests.support.kubernetes_bench import Ending, KubernetesBench, kubernetes_bench
from tests.support.local_bench import LocalBench, local_bench
from tests.support.recorded_life import PROGRAM, Life, LifeBench
from trainmaster.adapters.local.jobs import load_jobs
from trainmaster.api.trainingrun import TrainingRun


class LocalLife(LifeBench):
    """Real launchers, whose endings are kept."""

    def __init__(self, bench: LocalBench, *, cue: Path) -> None:
        self.bench, self.cluster, self.cue = bench, bench.cluster, cue

    async def end(self, run: TrainingRun, how: str) -> None:  # noqa: ARG002 - there is one run
        self.cue.with_suffix(".new").write_text(how)
        self.cue.with_suffix(".new").rename(self.cue)

    async def edit(self, run: TrainingRun, **spec: object) -> None:
        stored = self.bench.local.find(run.metadata.uid)
        assert stored is not None
        self.bench.local.apply([stored.model_copy(update={"spec": stored.spec.model_copy(update=spec)})])

    def endings(self, run: TrainingRun) -> dict[int, Ending]:
        """How each launch ended."""
        found = {}
        for job in load_jobs(self.bench.state.jobs(run.metadata.uid)):
            assert job.exit_code is not None
            word = job.termination_log.read_text() if job.termination_log.exists() else ""
            found[job.launch] = Ending(exit_code=job.exit_code, message=word.replace(run.metadata.uid, "<uid>"))
        return found


class ClusterLife(LifeBench):
    """Pods that end as recorded."""

    def __init__(self, bench: KubernetesBench, *, endings: dict[int, Ending]) -> None:
        self.bench, self.cluster, self.endings = bench, bench.cluster, endings
        self.ended: set[int] = set()
        bench.script = self.script

    def script(self, plan: dict[str, Any]) -> Ending | None:
        launch = int(plan["launch"])
        if launch not in self.ended:
            return None
        recorded = self.endings[launch]
        return Ending(exit_code=recorded.exit_code, message=recorded.message.replace("<uid>", plan["runUid"]))

    async def end(self, run: TrainingRun, how: str) -> None:  # noqa: ARG002 - as recorded
        self.ended.add(run.status.launch)

    async def edit(self, run: TrainingRun, **spec: object) -> None:
        await self.bench.edit(run, **spec)


@pytest.fixture(scope="module")
def arena(plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(plane) as name:
        plane.add_claim(name, CLAIM)
        yield name


async def led_locally(folder: Path) -> tuple[list[str], dict[int, Ending]]:
    async with local_bench(folder) as bench:
        run = await bench.store(life_of(folder))
        there = LocalLife(bench, cue=folder / "cue")
        life = Life(bench=there, run=run)
        await life.lead()
        return life.lines, there.endings(run)


async def led_on_a_cluster(folder: Path, *, plane: ControlPlane, arena: str, endings: dict[int, Ending]) -> list[str]:
    async with kubernetes_bench(plane, arena) as bench:
        life = Life(bench=ClusterLife(bench, endings=endings), run=await bench.store(life_of(folder)))
        await life.lead()
        return life.lines


def life_of(folder: Path) -> TrainingRun:
    return python(PROGRAM, str(folder / "cue"), name="led-twice", terminationGracePeriodSeconds=20)


def test_one_life_gives_the_same_decisions_on_both_clusters(plane: ControlPlane, arena: str, tmp_path: Path) -> None:
    local, endings = asyncio.run(led_locally(tmp_path))
    cluster = asyncio.run(led_on_a_cluster(tmp_path, plane=plane, arena=arena, endings=endings))

    for ours, theirs in zip(local, cluster, strict=False):
        assert json.loads(ours) == json.loads(theirs)
    assert local == cluster

    assert [endings[launch].exit_code for launch in (1, 2, 4)] == [137, 75, 0], "launch 3 was ended by suspension"
    last = json.loads(local[-1])["decided"]["status"]
    assert (last["phase"], last["launch"], last["crashes"], last["disruptions"]) == ("Succeeded", 4, 1, 1)
    assert last["checkpoint"]["path"] == "1/step-7.pt"
    reasons = [d["reason"] for d in last["decisions"]]
    assert reasons == ["FirstLaunch", "Crashed", "Disrupted", "SuspendRequested", "Resumed", "Completed"]
    assert {d["state"] for d in last["decisions"]} == {"Done"}
