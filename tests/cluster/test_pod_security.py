"""A namespace that enforces the Pod Security Standard `restricted` takes our pods, says a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.control_plane.plane import Answer
from tests.support.operator_process import wait_until
from tests.support.runs import run_of, status_of
from trainmaster.adapters.kubernetes.manifest import LaunchSettings, job_manifest
from trainmaster.core.plan import build_plan
from trainmaster.core.snapshot import CreateJob

Wire = dict[str, Any]

ENFORCE = "pod-security.kubernetes.io/enforce"
SETTINGS = LaunchSettings(image="trainer:1", report_url="https://operator:8443/v1/reports")
EVERYTHING: Wire = {
    "resources": {"cpu": 2, "gpus": 1, "memory": "4Gi", "shm": "2Gi"},
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
    "imagePullSecrets": [{"name": "registry"}],
}
FOREIGN: Wire = {"workload": "custom", "command": ["python3", "train.py"], "data": None, "image": "python:3.11-slim"}


def offered(plane: ControlPlane, namespace: str, pod: Wire) -> Answer:
    """What the API server says to a pod; it keeps none."""
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "offered-"}, "spec": pod}
    return plane.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict", body)


def pod_of(**spec: Any) -> Wire:  # noqa: ANN401 - fields of spec
    run = run_of(**spec)
    effect = CreateJob(name="job", plan=build_plan(run, status_of()), avoided_nodes=("bad-1", "bad-2"))
    pod: Wire = job_manifest(run, effect, SETTINGS)["spec"]["template"]["spec"]
    return pod


@pytest.fixture
def restricted(plane: ControlPlane, namespace: str) -> str:
    """A namespace that refuses what is not restricted, with the account that its pods have."""
    labels = {"metadata": {"labels": {ENFORCE: "restricted"}}}
    assert plane.request("PATCH", f"/api/v1/namespaces/{namespace}", labels).status == 200
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    wait_until(lambda: plane.request("GET", account).status == 200, what="the default account")
    return namespace


@pytest.mark.parametrize("spec", [{}, EVERYTHING, FOREIGN, FOREIGN | EVERYTHING], ids=["own", "all", "foreign", "both"])
def test_a_restricted_namespace_takes_the_pod(plane: ControlPlane, restricted: str, spec: Wire) -> None:
    answer = offered(plane, restricted, pod_of(**spec))

    assert answer.status == 201, answer.body


def test_it_would_refuse_one_that_is_not(plane: ControlPlane, restricted: str) -> None:
    pod = pod_of(**FOREIGN)
    del pod["initContainers"][0]["securityContext"]

    answer = offered(plane, restricted, pod)
    assert answer.status == 403
    assert 'container "launcher"' in answer.body["message"]
