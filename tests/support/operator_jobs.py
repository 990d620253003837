"""Jobs by the operator's account on a server with the chart's policies: as it makes them, and as a thief would."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

from tests.support.chart import Json
from tests.support.chart_release import Release
from tests.support.runs import run_of, status_of
from trainmaster.adapters.kubernetes.manifest import LaunchSettings, job_manifest
from trainmaster.core.plan import build_plan
from trainmaster.core.snapshot import CreateJob

CONTAINER: Json = {"name": "c", "image": "i"}
FROM_SECRET: Json = {"secretRef": {"name": "s"}}
"""An item of envFrom."""
FROM_KEY: Json = {"secretKeyRef": {"name": "s", "key": "k"}}
"""The valueFrom of a variable."""
SETTINGS = LaunchSettings(image="trainer:1", report_url="https://operator:8443/v1/reports")


def volume(**source: Json) -> Json:
    """Fields of a pod with one volume."""
    return {"volumes": [{"name": "v", **source}]}


def token(audience: str) -> Json:
    """Source of a projected volume."""
    return {"serviceAccountToken": {"audience": audience, "path": "token"}}


def job(namespace: str, **pod: object) -> str:
    """A small Job that the policies take, with these fields of its pod; None leaves one out."""
    spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [CONTAINER]} | pod
    kept = {name: value for name, value in spec.items() if value is not None}
    meta = {"generateName": "probe-", "namespace": namespace}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": {"spec": kept}}})


def real_job(namespace: str, *, image: str = "") -> str:
    """The Job that the operator makes of a run with a claim, in the trainer's image or another one."""
    foreign: Json = {"workload": "custom", "image": image, "command": ["a"], "data": None, "hyperparameters": {}}
    spec: Json = {"storage": {"checkpoints": "pvc://runs"}} | (foreign if image else {})
    run = run_of(meta={"namespace": namespace}, **spec)
    return json.dumps(job_manifest(run, CreateJob(name="probe", plan=build_plan(run, status_of())), SETTINGS))


def created(release: Release, manifest: str) -> CompletedProcess[str]:
    """What the server says when the operator's account creates a Job; none is made."""
    return release.apply_as_operator("create", "--dry-run=server", "-f", "-", input=manifest)
