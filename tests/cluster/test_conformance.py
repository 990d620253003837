"""The Kubernetes adapter passes the suite of every Cluster, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_contract import ClusterContract
from tests.support.cluster_runs import CLAIM, JOBS, PODS, fresh_namespace
from tests.support.cluster_stage import SLEEP, Bench, Stage, python
from tests.support.control_plane import ControlPlane
from tests.support.kubernetes_bench import kubernetes_bench
from trainmaster.api.labels import API_VERSION, LABEL_RUN_UID, job_name
from trainmaster.core.snapshot import DeleteJob

HOLD = "test.trainmaster.io/hold"
"""Annotation of a pod that kwok leaves alone."""


@pytest.fixture(scope="module")
def arena(plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(plane) as name:
        plane.add_claim(name, CLAIM)
        yield name


class TestKubernetesCluster(ClusterContract):
    """Jobs and pods of a real API server."""

    @pytest.fixture(autouse=True)
    def _arena(self, plane: ControlPlane, arena: str) -> None:
        self.plane, self.arena = plane, arena

    def opener(self, folder: Path) -> AbstractAsyncContextManager[Bench]:  # noqa: ARG002 - its files are in etcd
        return kubernetes_bench(self.plane, self.arena)

    def test_a_deleted_job_is_there_until_its_pod_has_ended(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            name = await stage.create()
            job = await stage.seen(lambda job: job.state == "Running")
            pod = self.hold_pod(stage)
            await stage.cluster.delete_job(stage.run, DeleteJob(name=name, uid=job.uid))
            ending = await stage.seen(lambda job: job.deleting)
            assert (ending.live_pods, ending.finished) == (1, False)
            assert (await stage.look()).stray_pods == frozenset()
            self.release_pod(pod)
            await stage.gone()

        self.play(tmp_path, python(SLEEP), story)

    def test_a_pod_whose_job_is_gone_is_a_stray_of_its_launch(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            name = await stage.create(launch=3)
            await stage.seen(lambda job: job.state == "Running", launch=3)
            path = f"{JOBS.format(self.arena)}/{name}"
            assert self.plane.request("DELETE", path, {"propagationPolicy": "Orphan"}).status == 200
            await stage.gone(launch=3)
            assert (await stage.look()).stray_pods == {3}
            pod = self.pods(stage)[0]["metadata"]["name"]
            self.plane.finish_pod(self.arena, pod, exit_code=75)
            assert (await stage.look()).stray_pods == frozenset()

        self.play(tmp_path, python(SLEEP), story)

    @pytest.mark.parametrize("kind", ["nobody", "another run"])
    def test_a_job_of_somebody_else_under_our_name_is_left_and_shown_as_theirs(self, tmp_path: Path, kind: str) -> None:
        async def story(stage: Stage) -> None:
            name = job_name(stage.run.metadata.name, uid=stage.run.metadata.uid, launch=1)
            other = (await stage.bench.store(python(SLEEP, name="other"))).metadata
            owner = {"apiVersion": API_VERSION, "kind": "TrainingRun", "name": other.name, "uid": other.uid}
            owners = [owner | {"controller": True}] if kind == "another run" else []
            pod = {"restartPolicy": "Never", "containers": [{"name": "theirs", "image": "theirs"}]}
            theirs = {
                "metadata": {"name": name, "ownerReferences": owners},
                "spec": {"suspend": True, "template": {"spec": pod}},
            }
            created = self.plane.request("POST", JOBS.format(self.arena), theirs)
            assert created.status == 201, created
            stage.run = await stage.cluster.write_status(stage.run, stage.run.status.model_copy(update={"launch": 1}))
            assert await stage.create() == name
            seen = (await stage.look()).jobs[0]
            assert seen.uid == created.body["metadata"]["uid"]
            assert seen.run_uid == (other.uid if owners else "")

        self.play(tmp_path, python(SLEEP), story)

    def hold_pod(self, stage: Stage) -> str:
        """Keep the run's pod from ending; its address."""
        path = f"{PODS.format(self.arena)}/{self.pods(stage)[0]['metadata']['name']}"
        assert self.plane.request("PATCH", path, {"metadata": {"annotations": {HOLD: "yes"}}}).status == 200
        return path

    def release_pod(self, path: str) -> None:
        assert self.plane.request("PATCH", path, {"metadata": {"annotations": {HOLD: None}}}).status == 200

    def pods(self, stage: Stage) -> list[dict[str, Any]]:
        selector = f"labelSelector={LABEL_RUN_UID}={stage.run.metadata.uid}"
        items: list[dict[str, Any]] = self.plane.request("GET", f"{PODS.format(self.arena)}?{selector}").body["items"]
        return items
