"""Runs on a real control plane as users make them, and what is there of them: plain requests of the admin."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.control_plane import ControlPlane
from tests.support.control_plane.plane import Answer
from trainmaster.api.labels import API_VERSION

Wire = dict[str, Any]

RUNS = "/apis/trainmaster.io/v1alpha1/namespaces/{}/trainingruns"
RECORDS = "/apis/trainmaster.io/v1alpha1/namespaces/{}/runrecords"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"
NAMESPACES = "/api/v1/namespaces"
CLAIM = "checkpoints"
"""The claim of `spec.storage`'s default."""
SPEC: Wire = {"workload": "custom", "command": ["python", "train.py"], "resources": {"cpu": 1}}
GONE = 404


@contextmanager
def fresh_namespace(plane: ControlPlane) -> Iterator[str]:
    """A namespace; its deletion is not waited for, names are never used twice."""
    name = f"test-{secrets.token_hex(4)}"
    assert plane.request("POST", NAMESPACES, {"metadata": {"name": name}}).status == 201
    yield name
    plane.request("DELETE", f"{NAMESPACES}/{name}")


def run_manifest(name: str, spec: Wire) -> Wire:
    """A TrainingRun as its user writes it."""
    return {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}


def refused_fields(answer: Answer) -> set[str]:
    """The fields that a refusal blames."""
    details = answer.body.get("details") or {}
    return {cause["field"] for cause in details.get("causes") or []}


def last_word(run: Wire, *, launch: int, outcome: str, reason: str = "", crashes: int = 0) -> str:
    """A launcher's termination message."""
    verdict = {"outcome": outcome, "reason": reason or outcome, "message": f"said {outcome}"}
    word = {
        "runUid": run["metadata"]["uid"],
        "launch": launch,
        "generation": run.get("status", {}).get("plan", {}).get("generation", 1),
        "lastSeq": 9,
        "step": 7,
        "verdict": verdict,
        "crashes": crashes,
    }
    return json.dumps(word)
