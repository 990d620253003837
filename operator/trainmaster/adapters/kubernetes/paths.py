"""Paths of the API server."""

from __future__ import annotations

from typing import Final

from trainmaster.api.labels import GROUP, VERSION
from trainmaster.api.objects import Key

RUNS: Final = "trainingruns"
RECORDS: Final = "runrecords"
OURS: Final = f"/apis/{GROUP}/{VERSION}"
BATCH: Final = "/apis/batch/v1"
CORE: Final = "/api/v1"


def everywhere(base: str, plural: str, *, namespace: str = "") -> str:
    """All objects of a kind, or those of one namespace."""
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


def run(key: Key) -> str:
    """One TrainingRun."""
    return f"{OURS}/namespaces/{key.namespace}/{RUNS}/{key.name}"


def run_status(key: Key) -> str:
    """Its status."""
    return f"{run(key)}/status"


def records(namespace: str) -> str:
    """RunRecords of a namespace."""
    return f"{OURS}/namespaces/{namespace}/{RECORDS}"


def record(key: Key) -> str:
    """One RunRecord."""
    return f"{records(key.namespace)}/{key.name}"


def jobs(namespace: str) -> str:
    """Jobs of a namespace."""
    return f"{BATCH}/namespaces/{namespace}/jobs"


def job(key: Key) -> str:
    """One Job."""
    return f"{jobs(key.namespace)}/{key.name}"


def pods(namespace: str) -> str:
    """Pods of a namespace."""
    return f"{CORE}/namespaces/{namespace}/pods"


def pod(key: Key) -> str:
    """One pod."""
    return f"{pods(key.namespace)}/{key.name}"


def events(namespace: str) -> str:
    """Events of a namespace."""
    return f"{CORE}/namespaces/{namespace}/events"


def event(key: Key) -> str:
    """One Event."""
    return f"{events(key.namespace)}/{key.name}"


def secret(key: Key) -> str:
    """One Secret."""
    return f"{CORE}/namespaces/{key.namespace}/secrets/{key.name}"


def lease(key: Key) -> str:
    """One Lease."""
    return f"{leases(key.namespace)}/{key.name}"


def leases(namespace: str) -> str:
    """Leases of a namespace."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def namespace(name: str) -> str:
    """One namespace."""
    return f"{CORE}/namespaces/{name}"
