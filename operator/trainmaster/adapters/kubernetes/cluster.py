"""The Cluster port on an API server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import CONFLICT, NOT_FOUND, ApiClient, ApiError
from trainmaster.adapters.kubernetes.events import EventRecorder
from trainmaster.adapters.kubernetes.manifest import LaunchSettings, job_manifest, localise
from trainmaster.adapters.kubernetes.observed import (
    JobFacts,
    PodFacts,
    job_facts,
    observe_job,
    pod_facts,
    stray_launches,
)
from trainmaster.adapters.kubernetes.pruning import PrunedStatusError, PruneGuard
from trainmaster.adapters.kubernetes.store import Stores, UnreadableRunError, parse_run
from trainmaster.adapters.kubernetes.unreadable import UnreadableRuns
from trainmaster.api.conditions import DecisionKind
from trainmaster.api.labels import API_VERSION, LABEL_RUN_UID, job_name
from trainmaster.api.objects import Key
from trainmaster.api.plan import Plan
from trainmaster.api.runrecord import RunRecordSpec
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus
from trainmaster.core.journal import is_open, open_decisions
from trainmaster.core.run.records import asks_for_earlier, earlier_success, unwritten
from trainmaster.core.snapshot import CreateJob, DeleteJob, Event, WriteRecord
from trainmaster.ports.cluster import NAMESPACE_TERMINATING, ConflictError, Observation, RefusedEffectError
from trainmaster.ports.identity import LaunchIdentity

logger = logging.getLogger(__name__)

Json = dict[str, Any]

RECENT_SECONDS: Final = 0.1
"""An answer this old says as much as one that is asked for now: its own way back may take as long."""
TRANSIENT: Final = frozenset({401, 408, CONFLICT, 429})
"""Client errors that say nothing about what was asked for: our credentials, the load, who was faster."""

LEAVING: Final = "the namespace is being deleted, and this run with it: nothing new can be made there"


class RecentAnswers:
    """Which version of each run the server has answered with just now."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._noted: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def note(self, run: TrainingRun) -> None:
        """The server has answered with this."""
        now = self._monotonic()
        self._noted[run.metadata.uid] = run.metadata.resource_version, now
        self._noted.move_to_end(run.metadata.uid)
        while self._noted and next(iter(self._noted.values()))[1] < now - RECENT_SECONDS:
            self._noted.popitem(last=False)

    def is_recent(self, run: TrainingRun) -> bool:
        """Whether it has answered with this version, `RECENT_SECONDS` ago at most."""
        version, moment = self._noted.get(run.metadata.uid, ("", 0.0))
        return version == run.metadata.resource_version and self._monotonic() - moment <= RECENT_SECONDS


class KubernetesCluster:
    """Runs, Jobs and pods of one API server."""

    def __init__(self, *, client: ApiClient, stores: Stores, settings: LaunchSettings, recorder: EventRecorder) -> None:
        self._client = client
        self._stores = stores
        self._settings = settings
        self._recorder = recorder
        self._unreadable = UnreadableRuns(client)
        self._answers = RecentAnswers()
        self._pruning = PruneGuard()

    # -- seeing -------------------------------------------------------------------------------------------------------

    async def observe(self, key: Key, *, live: bool) -> Observation | None:
        """What is known of a run; None when it is gone, or when it says what this version cannot read."""
        try:
            observation = await self._look(key) if live else self._cached(key)
        except UnreadableRunError as error:
            raw = self._stores.runs.raw(key)
            if raw is not None:
                await self._unreadable.tell(key, raw, str(error))
            return None
        self._unreadable.forget(key)
        return observation

    def _cached(self, key: Key) -> Observation | None:
        run = self._stores.runs.get(key)
        if run is None:
            return None
        whose = run.metadata.namespace, run.metadata.uid
        return self._observation(run, jobs=self._stores.jobs.of_run(*whose), pods=self._stores.pods.of_run(*whose))

    async def _look(self, key: Key) -> Observation | None:
        """The run, the Jobs that may exist and its pods, from the server.

        Jobs are asked for by name, since an API server has no index of labels: those that the cache or an open decision
        names, and that of the newest launch. A Job beyond those would need a launch that status has never held.
        """
        run = self._recent(key) or await self._read(key)
        if run is None:
            return None
        found = await asyncio.gather(*(self._job(key.namespace, name) for name in self._names(run)))
        jobs = [job for job in found if job is not None]
        observation = self._observation(run, jobs=jobs, pods=await self._pods(run, jobs))
        return replace(observation, live=True, earlier=await self._earlier(run))

    def _recent(self, key: Key) -> TrainingRun | None:
        """The run, where reading it again would show nothing that counts.

        That is when the server has just answered with it. And when nothing was ever decided about it: then nothing of
        it can be absent but a record, and the write that follows proves by its version that it was current.
        """
        run = self._stores.runs.get(key)
        if run is None:
            return None
        never_decided = run.status.observed_generation < 0 and run.metadata.deletion_timestamp is None
        return run if never_decided or self._answers.is_recent(run) else None

    async def _read(self, key: Key) -> TrainingRun | None:
        """The run as the server has it now; None when it is gone."""
        asked, known = self._stores.runs.moment, self._stores.runs.uid(key)
        raw = await self._client.find(paths.run(key))
        if raw is not None:
            return self._answered(raw, asked=asked)
        if known is not None:
            # Another run may have this name by now: the answer is about that which had it.
            self._stores.runs.forget(key, uid=known)
        return None

    def _answered(self, raw: Json, *, asked: int) -> TrainingRun:
        """Take a run that the server has just answered with, asked at a moment of the store."""
        self._stores.runs.put(raw, asked=asked)
        run = parse_run(raw)
        self._answers.note(run)
        return run

    def _observation(self, run: TrainingRun, *, jobs: Sequence[JobFacts], pods: Sequence[PodFacts]) -> Observation:
        return Observation(
            run=run,
            jobs=tuple(observe_job(job, pods) for job in jobs),
            stray_pods=stray_launches(pods, jobs),
            recorded=self._stores.records.there(run.metadata.namespace, unwritten(run.status)),
        )

    async def _earlier(self, run: TrainingRun) -> RunRecordSpec | None:
        """The result that a run takes over; the index says which records to read."""
        if not asks_for_earlier(run):
            return None
        found = []
        for key in self._stores.records.successes(run):
            raw = await self._client.find(paths.record(key))
            if raw is None:
                continue
            try:
                found.append(RunRecordSpec.model_validate(raw["spec"]))
            except ValidationError as error:
                logger.warning("RunRecord %s cannot be read and counts for nothing: %s", key, error)
        return earlier_success(run, found)

    def _names(self, run: TrainingRun) -> list[str]:
        uid, status = run.metadata.uid, run.status
        launches = {status.launch, *(d.launch for d in status.decisions if is_open(d))} - {0}
        names = {job_name(run.metadata.name, uid=uid, launch=launch) for launch in launches}
        return sorted(names | {job.name for job in self._stores.jobs.of_run(run.metadata.namespace, uid)})

    async def _job(self, namespace: str, name: str) -> JobFacts | None:
        raw = await self._client.find(paths.job(Key(namespace, name)))
        if raw is None:
            return None
        facts = job_facts(raw)
        if facts.run_uid:
            self._stores.jobs.put(raw, listed=False)
        return facts

    async def _pods(self, run: TrainingRun, jobs: Sequence[JobFacts]) -> Sequence[PodFacts]:
        """The run's pods; none can exist before the Job of the first launch has been."""
        uid, status = run.metadata.uid, run.status
        first = status.launch == 1 and bool(open_decisions(status, DecisionKind.LAUNCH))
        if (first or not status.launch) and not jobs and not self._stores.pods.of_run(run.metadata.namespace, uid):
            return ()
        selector, pods = f"{LABEL_RUN_UID}={uid}", []
        async for items, _ in self._client.pages(paths.pods(run.metadata.namespace), selector=selector):
            for item in items:
                self._stores.pods.put(item, listed=False)
                pods.append(pod_facts(item))
        return pods

    def find(self, uid: str) -> TrainingRun | None:
        """The newest known form of the run with this UID."""
        return self._stores.runs.find(uid)

    async def launch_of_pod(self, *, namespace: str, name: str, uid: str) -> LaunchIdentity | None:
        """Whose pod this is: the launch whose Job controls it, if that Job is of a run."""
        pod = self._stores.pods.named(Key(namespace, name))
        if pod is None or pod.uid != uid:
            pod = await self._pod(namespace, name)
        if pod is None or pod.uid != uid:
            return None
        jobs = self._stores.jobs.of_run(namespace, pod.run_uid)
        job = next((job for job in jobs if job.uid == pod.job_uid), None)
        if job is None and (owner := pod.job_name):
            job = await self._job(namespace, owner)
        # The Job's owner, not the pod's labels. Who may create Jobs in this namespace may still write any owner on one:
        # within a namespace that is full trust, and the desk takes no report across namespaces.
        if job is None or job.uid != pod.job_uid or not job.run_uid or not job.launch:
            return None
        return LaunchIdentity(run_uid=job.run_uid, launch=job.launch, namespace=namespace, pod_uid=uid)

    async def _pod(self, namespace: str, name: str) -> PodFacts | None:
        raw = await self._client.find(paths.pod(Key(namespace, name)))
        return pod_facts(raw) if raw is not None else None

    # -- doing --------------------------------------------------------------------------------------------------------

    async def write_status(self, run: TrainingRun, status: TrainingRunStatus) -> TrainingRun:
        """Write what has changed of a status, if the run is still the version that was read.

        Raises:
            ConflictError: It is not.
            PrunedStatusError: The server keeps only a part of what is written; nothing is left of the write.
        """
        key = run.metadata.key
        self._pruning.check(key)
        before = self._stored_status(run)
        patch = merge_patch(before, status.to_wire())
        body = {"metadata": {"resourceVersion": run.metadata.resource_version}, "status": patch}
        asked = self._stores.runs.moment
        try:
            raw = await self._client.patch(paths.run_status(key), body)
        except ApiError as error:
            if error.status not in {CONFLICT, NOT_FOUND}:
                raise
            await self._read(key)
            message = f"{key} has changed since version {run.metadata.resource_version} was read ({error.message})"
            raise ConflictError(message) from error
        fresh = self._answered(raw, asked=asked)
        if fresh.status.decisions != status.decisions or fresh.status.launch != status.launch:
            self._pruning.note()
            await self._take_back(key, raw, before)
            raise PrunedStatusError(key)
        return fresh

    async def _take_back(self, key: Key, raw: Json, status: Json) -> None:
        """Undo a write of which only a part was kept."""
        version = {"resourceVersion": raw["metadata"]["resourceVersion"]}
        body = {"metadata": version, "status": merge_patch(raw.get("status") or {}, status)}
        asked = self._stores.runs.moment
        self._answered(await self._client.patch(paths.run_status(key), body), asked=asked)

    def _stored_status(self, run: TrainingRun) -> Json:
        raw = self._stores.runs.raw(run.metadata.key)
        if raw is not None and raw["metadata"]["resourceVersion"] == run.metadata.resource_version:
            status: Json = raw.get("status") or {}
            return status
        return run.status.to_wire()

    async def create_job(self, run: TrainingRun, effect: CreateJob) -> None:
        """Create a Job; one that exists under this name is left as it is."""
        try:
            raw = await self._client.post(paths.jobs(run.metadata.namespace), job_manifest(run, effect, self._settings))
        except ApiError as error:
            if error.status == CONFLICT and error.reason == "AlreadyExists":
                return
            _raise_if_refused(error)
            raise
        self._stores.jobs.put(raw, listed=False)

    async def delete_job(self, run: TrainingRun, effect: DeleteJob) -> None:
        """Ask a Job to end; it stays until its pods are gone."""
        body = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": effect.uid},
        }
        try:
            raw = await self._client.delete(paths.job(Key(run.metadata.namespace, effect.name)), body)
        except ApiError as error:
            if error.status not in {CONFLICT, NOT_FOUND}:
                _raise_if_refused(error)
                raise
            return
        if raw.get("kind") == "Job":
            self._stores.jobs.put(raw, listed=False)

    async def write_record(self, run: TrainingRun, effect: WriteRecord) -> None:
        """Create a RunRecord; one that exists under this name is left as it is."""
        namespace = run.metadata.namespace
        body = {
            "apiVersion": API_VERSION,
            "kind": "RunRecord",
            "metadata": {"name": effect.name, "namespace": namespace, "labels": dict(effect.labels)},
            "spec": effect.record.to_wire(),
        }
        try:
            raw = await self._client.post(paths.records(namespace), body)
        except ApiError as error:
            if error.status != CONFLICT:
                _raise_if_refused(error)
                raise
            raw = await self._client.get(paths.record(Key(namespace, effect.name)))
        self._stores.records.put(raw)

    async def emit(self, run: TrainingRun, events: Sequence[Event]) -> None:
        """Tell Events, in the background."""
        for event in events:
            self._recorder.record(run, event)

    def localise(self, plan: Plan) -> Plan:
        """The plan with claims as folders of the pod."""
        return localise(plan)


def _raise_if_refused(error: ApiError) -> None:
    """Raise RefusedEffectError where the server will not have an effect; not where it cannot have it now."""
    if 400 <= error.status < 500 and error.status not in TRANSIENT:
        leaving = error.reason == NAMESPACE_TERMINATING
        raise RefusedEffectError(reason=error.reason, message=LEAVING if leaving else error.message) from error


def merge_patch(old: Json, new: Json) -> Json:
    """The JSON merge patch (RFC 7386) that makes `old` into `new`: lists whole, absent members as null."""
    patch: Json = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[name] = inner
        elif value != before or name not in old:
            patch[name] = value
    return patch
