"""RunRecords before a real API server: taken as the core makes them, kept whole in status, and never changed."""

from __future__ import annotations

import json
from typing import Any

from tests.support.control_plane import ControlPlane
from tests.support.runs import at, decision_of, record_of, run_of
from trainmaster.api.cel import RECORD_IMMUTABLE
from trainmaster.api.conditions import DecisionKind
from trainmaster.api.labels import API_VERSION
from trainmaster.api.runrecord import new_record

FULL = record_of(
    rerun="two",
    reruns=2,
    start_time=at(-60),
    launches=31,
    crashes=3,
    disruptions=2,
    heals=1,
    active_seconds=59,
    metrics={f"metric.{number}/{'n' * 80}": "1.23457e-05" for number in range(64)},
    checkpoint={"path": "31/step-5.pt", "step": 5, "sha256": "ab" * 32},
    mlflow_run_id="c0ffee",
)


def create(plane: ControlPlane, wire: dict[str, Any], *, namespace: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(
        plane.kubectl("-n", namespace, "create", "-f", "-", "-o", "json", input=json.dumps(wire)).stdout
    )
    return stored


def test_a_record_is_stored_as_it_was_made(plane: ControlPlane, namespace: str) -> None:
    made = new_record(FULL, namespace=namespace).to_wire()
    stored = create(plane, made, namespace=namespace)
    assert stored["spec"] == made["spec"]
    assert stored["metadata"]["labels"] == made["metadata"]["labels"]
    assert "ownerReferences" not in stored["metadata"]


def test_a_record_cannot_be_changed(plane: ControlPlane, namespace: str) -> None:
    create(plane, new_record(FULL, namespace=namespace).to_wire(), namespace=namespace)
    for change in (
        {"outcome": "Failed"},
        {"metrics": {next(iter(FULL.metrics)): "0"}},
        {"checkpoint": None},
        {"heals": 0},
    ):
        patch = json.dumps({"spec": change})
        command = ("patch", "runrecord", FULL.name, "--type=merge", "-p", patch)
        refused = plane.kubectl("-n", namespace, *command, check=False)
        assert refused.returncode != 0
        assert RECORD_IMMUTABLE in refused.stderr
    labels = json.dumps({"metadata": {"labels": {"mine": "1"}}})
    plane.kubectl("-n", namespace, "patch", "runrecord", FULL.name, "--type=merge", "-p", labels)


def test_status_keeps_a_record_that_is_not_written_yet_whole(plane: ControlPlane, namespace: str) -> None:
    spec = run_of().spec.to_wire()
    head = {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": "market"}}
    create(plane, head | {"spec": spec}, namespace=namespace)
    decision = decision_of(DecisionKind.RECORD, record=FULL).to_wire()
    patch = json.dumps({"status": {"observedGeneration": 1, "decisions": [decision]}})
    command = ("patch", "trainingrun", "market", "--subresource=status", "--type=merge", "-p", patch, "-o", "json")
    stored = json.loads(plane.kubectl("-n", namespace, *command).stdout)
    assert stored["status"]["decisions"] == [decision]


def test_the_policy_can_be_changed_at_any_time(plane: ControlPlane, namespace: str) -> None:
    head = {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": "market"}}
    stored = create(plane, head | {"spec": run_of().spec.to_wire() | {"rerunPolicy": "IfChanged"}}, namespace=namespace)
    assert stored["spec"]["rerunPolicy"] == "IfChanged"
    change = json.dumps({"spec": {"rerunPolicy": "Always"}})
    plane.kubectl("-n", namespace, "patch", "trainingrun", "market", "--type=merge", "-p", change)
    wrong = json.dumps({"spec": {"rerunPolicy": "Sometimes"}})
    command = ("patch", "trainingrun", "market", "--type=merge", "-p", wrong)
    assert plane.kubectl("-n", namespace, *command, check=False).returncode != 0
