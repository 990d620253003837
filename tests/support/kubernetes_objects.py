"""Jobs, pods, runs and records as an API server shows them, reduced to what matters and with what is in the way."""

from __future__ import annotations

from typing import Any

from tests.support.runs import SPEC, UID
from trainmaster.adapters.kubernetes.client import ApiError
from trainmaster.adapters.kubernetes.store import RunStore
from trainmaster.api.labels import ANNOTATION_RUN_NAME, API_VERSION, LABEL_LAUNCH, LABEL_RUN_UID, job_name

Json = dict[str, Any]
JOB_UID = "job-uid"
STARTED = "2026-03-01T12:00:10Z"
ENDED = "2026-03-01T12:30:00Z"
CONTROLLER = {"apiVersion": API_VERSION, "kind": "TrainingRun", "name": "market", "uid": UID, "controller": True}


def run_json(name: str = "market", *, uid: str = UID, version: int = 1, **spec: object) -> Json:
    """A TrainingRun."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": uid,
            "generation": 1,
            "resourceVersion": str(version),
            "managedFields": [{"manager": "kubectl", "operation": "Apply"}],
        },
        "spec": SPEC | spec,
    }


def job_json(*, version: int = 1, status: Json | None = None, spec: Json | None = None, **meta: object) -> Json:
    """The Job of the run's first launch."""
    base = {
        "name": job_name("market", uid=UID, launch=1),
        "namespace": "default",
        "uid": JOB_UID,
        "resourceVersion": str(version),
        "labels": {LABEL_RUN_UID: UID, LABEL_LAUNCH: "1"},
        "ownerReferences": [CONTROLLER],
    }
    return {"metadata": base | meta, "spec": {"backoffLimit": 0} | (spec or {}), "status": status or {}}


def ended_job(kind: str, *, message: str = "", active: int = 0) -> Json:
    """A Job with the condition that ended it, after another that says nothing about that."""
    conditions = [
        {"type": "FailureTarget", "status": "True", "lastTransitionTime": STARTED, "message": message},
        {"type": kind, "status": "True", "lastTransitionTime": ENDED, "message": message},
    ]
    return job_json(status={"conditions": conditions, "active": active})


def failed_by_rule(index: int) -> Json:
    """A Job that a rule of its podFailurePolicy ended, in the words of the Job controller."""
    told = f"Container trainer for pod default/market-x failed with exit code 75 matching FailJob rule at index {index}"
    return ended_job("Failed", message=told)


def pod_json(
    *, version: int = 1, phase: str = "Pending", state: Json | None = None, disrupted: bool = False, **meta: object
) -> Json:
    """A pod of that Job; `state` is its container's."""
    base = {
        "name": "market-x",
        "namespace": "default",
        "uid": "pod-uid",
        "resourceVersion": str(version),
        "labels": {LABEL_RUN_UID: UID, LABEL_LAUNCH: "1"},
        "annotations": {ANNOTATION_RUN_NAME: "market"},
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": JOB_UID, "controller": True}],
    }
    conditions = [{"type": "PodScheduled", "status": "True"}]
    if disrupted:
        conditions.append({"type": "DisruptionTarget", "status": "True"})
    status: Json = {"phase": phase, "conditions": conditions}
    if state is not None:
        status["containerStatuses"] = [{"name": "trainer", "state": state}]
    return {"metadata": base | meta, "status": status}


def running_pod(*, version: int = 1, since: str = STARTED, **meta: object) -> Json:
    """A pod whose container runs."""
    pod = pod_json(version=version, phase="Running", state={"running": {"startedAt": since}})
    return pod | {"metadata": pod["metadata"] | meta}


def ended_pod(exit_code: int, *, message: str = "", version: int = 1, disrupted: bool = False) -> Json:
    """A pod whose container has ended."""
    ended: Json = {"exitCode": exit_code, "startedAt": STARTED, "finishedAt": ENDED}
    state = {"terminated": ended | ({"message": message} if message else {})}
    phase = "Failed" if exit_code else "Succeeded"
    return pod_json(version=version, phase=phase, state=state, disrupted=disrupted)


def record_json(name: str, *, uid: str, namespace: str = "default", **spec: object) -> Json:
    """A RunRecord."""
    meta = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": "1"}
    return {"metadata": meta, "spec": {"runName": "market", "specHash": "hash", "outcome": "Succeeded"} | spec}


def refusal(status: int, reason: str = "", *, retry_after: float | None = None) -> ApiError:
    """What the client raises when the API server refuses."""
    return ApiError(status=status, reason=reason, message=f"refused with {status} {reason}", retry_after=retry_after)


class ReflectedRuns:
    """The store of runs as a cache of a reflector, for which the operator has kopf."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self.remove = store.remove

    def put(self, item: Json, *, listed: bool) -> None:
        """Take an object."""
        self._store.put(item, asked=self._store.moment if listed else None)

    def retain(self, uids: frozenset[str]) -> None:
        """Forget all but these."""
        self._store.retain(uids, asked=self._store.moment)
