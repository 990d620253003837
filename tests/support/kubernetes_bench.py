"""The Kubernetes adapter on a real control plane, with its watches; pods run on kwok's node, and `Player` ends them.

kwok runs nothing: what a launcher and its training process would do is played from the plan in the pod's environment,
which is all that they would know as well.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import kopf

from tests.support.cluster_runs import JOBS, PODS, RUNS, run_manifest
from tests.support.cluster_stage import DONE, Bench, ends
from tests.support.control_plane import ControlPlane
from tests.support.kubernetes_objects import ReflectedRuns
from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import ApiClient
from trainmaster.adapters.kubernetes.cluster import KubernetesCluster
from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.adapters.kubernetes.events import EventRecorder
from trainmaster.adapters.kubernetes.manifest import LaunchSettings
from trainmaster.adapters.kubernetes.reflector import Reflector
from trainmaster.adapters.kubernetes.store import Stores, new_stores, parse_run
from trainmaster.adapters.system_clock import SystemClock
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_OK, EXIT_RETRY, Outcome, Reason
from trainmaster.api.labels import LABEL_RUN_UID
from trainmaster.api.trainingrun import TrainingRun

Wire = dict[str, Any]

LOOK_SECONDS = 0.05
"""Between two looks of the player at the pods."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a pod ends: exit code, and what its termination message says."""

    exit_code: int
    message: str = ""


Script = Callable[[Wire], Ending | None]
"""How the pod with this plan ends; None: it runs on."""


def scripted(plan: Wire) -> Ending | None:
    """What a launcher makes of the programs of the suite."""
    program = plan["command"][2]
    for known, exit_code, outcome, reason in (
        (DONE, EXIT_OK, Outcome.COMPLETED, Reason.COMPLETED),
        (ends(75), EXIT_RETRY, Outcome.RETRY, Reason.DISRUPTED),
        (ends(78), EXIT_CONFIGURATION, Outcome.FAILED, Reason.INVALID_CONFIGURATION),
        (ends(1), EXIT_CONFIGURATION, Outcome.FAILED, Reason.REPEATED_CRASH),
    ):
        if program == known:
            verdict = {"outcome": outcome, "reason": reason, "message": "well", "metrics": {"loss": 0.5}}
            word = {"runUid": plan["runUid"], "launch": plan["launch"], "generation": 1, "lastSeq": 1, "step": 1}
            return Ending(exit_code=exit_code, message=json.dumps(word | {"verdict": verdict}))
    return None


class KubernetesBench(Bench):
    """The adapter in one namespace. Runs get names of their own: tests of one namespace do not meet."""

    def __init__(self, plane: ControlPlane, namespace: str, *, client: ApiClient) -> None:
        self.plane = plane
        self.namespace = namespace
        self.script: Script = scripted
        self.tag = f"-{secrets.token_hex(3)}"
        self._queued: set[str] = set()
        """Jobs that a queue holds."""
        self._client = client
        self._stores: Stores = new_stores(lambda _key: None)
        self._recorder = EventRecorder(client=client, clock=SystemClock(), identity="bench")
        settings = LaunchSettings(image="trainer:test", report_url="http://127.0.0.1:1/v1/reports")
        self.cluster = KubernetesCluster(client=client, stores=self._stores, settings=settings, recorder=self._recorder)

    async def events(self) -> list[str]:
        await self._recorder.flush()
        listed = await self._client.get(paths.events(self.namespace))
        ours = [item for item in listed["items"] if item["involvedObject"]["name"].endswith(self.tag)]
        return [f"{item['reason']}: {item['message']}" for item in ours]

    async def store(self, run: TrainingRun) -> TrainingRun:
        name = run.metadata.name + self.tag
        raw = await self._client.post(RUNS.format(self.namespace), run_manifest(name, run.spec.to_wire()))
        return parse_run(raw)

    async def remove(self, run: TrainingRun) -> None:
        background = {"propagationPolicy": "Background"}
        await self._client.delete(paths.run(run.metadata.key), background)

    async def edit(self, run: TrainingRun, **spec: object) -> None:
        """Change fields of spec, as its user would."""
        await self._client.patch(paths.run(run.metadata.key), {"spec": spec})

    async def queue(self, job: str) -> None:
        self._queued.add(job)

    async def admit(self, job: str) -> None:
        self._queued.remove(job)
        await self._suspend(job, wanted=False)

    async def _suspend(self, job: str, *, wanted: bool) -> None:
        await self._client.patch(f"{JOBS.format(self.namespace)}/{job}", {"spec": {"suspend": wanted}})

    def watches(self) -> list[Reflector]:
        """As the operator has them; of runs too, for which the operator has kopf."""
        return [
            Reflector(self._client, path=paths.everywhere(base, plural), cache=cache, selector=selector)
            for base, plural, cache, selector in (
                (paths.OURS, paths.RUNS, ReflectedRuns(self._stores.runs), ""),
                (paths.OURS, paths.RECORDS, self._stores.records, ""),
                (paths.BATCH, "jobs", self._stores.jobs, LABEL_RUN_UID),
                (paths.CORE, "pods", self._stores.pods, LABEL_RUN_UID),
            )
        ]

    async def tell_events(self) -> None:
        """Send Events until cancelled."""
        await self._recorder.run()

    async def play(self) -> None:
        """Hold queued Jobs and end running pods as the script says, until cancelled."""
        ended: set[str] = set()
        while True:
            if self._queued:
                jobs = await self._client.get(JOBS.format(self.namespace))
                names = {job["metadata"]["name"] for job in jobs["items"] if not job["spec"]["suspend"]}
                for name in names & self._queued:
                    await self._suspend(name, wanted=True)
            listed = await self._client.get(PODS.format(self.namespace))
            for pod in listed["items"]:
                uid, ending = pod["metadata"]["uid"], self._ending(pod)
                if ending is not None and uid not in ended:
                    ended.add(uid)
                    await asyncio.to_thread(self._finish, pod["metadata"]["name"], ending)
            await asyncio.sleep(LOOK_SECONDS)

    def _ending(self, pod: Wire) -> Ending | None:
        """How a pod ends now; None for one that runs on, does not run, is of a queued Job or of another test."""
        held = pod["metadata"]["labels"]["job-name"] in self._queued
        if pod["status"]["phase"] != "Running" or held or not self._is_ours(pod):
            return None
        return self.script(plan_of(pod))

    def _is_ours(self, pod: Wire) -> bool:
        return str(plan_of(pod)["name"]).endswith(self.tag)

    def _finish(self, name: str, ending: Ending) -> None:
        self.plane.finish_pod(self.namespace, name, exit_code=ending.exit_code, message=ending.message)


def plan_of(pod: Wire) -> Wire:
    """The plan in a pod's environment, as its launcher reads it."""
    env = {item["name"]: item["value"] for item in pod["spec"]["containers"][0]["env"]}
    plan: Wire = json.loads(env["TRAINMASTER_PLAN"].replace("$$", "$"))
    return plan


def connection_of(plane: ControlPlane) -> Connection:
    """The admin's connection."""
    info = kopf.ConnectionInfo(server=plane.url, ca_path=str(plane.ca), token=plane.admin_token)
    return Connection(info=info)


@asynccontextmanager
async def kubernetes_bench(plane: ControlPlane, namespace: str) -> AsyncIterator[KubernetesBench]:
    """A bench whose watches have listed, and whose pods are played."""
    async with ApiClient(lambda: connection_of(plane)) as client:
        bench = KubernetesBench(plane, namespace, client=client)
        watches = bench.watches()
        tasks = [asyncio.create_task(part) for part in (*(w.run() for w in watches), bench.tell_events())]
        tasks.append(asyncio.create_task(bench.play()))
        try:
            for watch in watches:
                await watch.synced.wait()
            yield bench
            failed = [task for task in tasks if task.done()]
            assert not failed, [task.exception() for task in failed]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
