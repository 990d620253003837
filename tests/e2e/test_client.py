"""What a user does from Python and from a terminal, against real pods."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.node import Cluster
from tests.support.node.team import PATIENCE, Team
from trainmaster import Client
from trainmaster.api.conditions import EXIT_RETRY

PACE = {"steps": 40, "seconds_per_step": 0.1}


def test_logs_are_followed_from_one_launch_into_the_next(cluster: Cluster, team: Team) -> None:
    client = Client(namespace=team.name, kubeconfig=cluster.kubeconfig)
    run = team.train("twice", PACE | {"exit_at": 10, "exit_code": EXIT_RETRY})
    lines = list(client.logs("twice", follow=True))
    ended = client.wait("twice", until="succeeded", timeout=PATIENCE)

    assert ended.status.launch == 2
    for launch in (1, 2):
        told = [line.text for line in lines if line.launch == launch]
        assert told == team.kubectl("logs", run.pod(launch)).splitlines() != []
    assert client.metrics("twice").latest["loss"] == pytest.approx(float(run.status["metrics"]["loss"]))
    assert [launch.exit_code for launch in client.launches("twice")] == [EXIT_RETRY, 0]


def test_a_run_is_submitted_suspended_and_deleted(cluster: Cluster, team: Team) -> None:
    client = Client(namespace=team.name, kubeconfig=cluster.kubeconfig)
    spec = {"workload": "custom", "command": ["sleep", "600"], "resources": {"cpu": 1}}
    kind = {"apiVersion": "trainmaster.io/v1alpha1", "kind": "TrainingRun"}
    run = client.submit({**kind, "metadata": {"name": "handled"}, "spec": spec})
    client.wait(run, until="running", timeout=PATIENCE)
    client.suspend(run)
    client.wait(run, until="suspended", timeout=PATIENCE)
    assert team.run("handled").jobs() == []
    client.delete(run)
    client.wait_deleted(run, timeout=PATIENCE)


def test_kubectl_runs_the_command_as_its_plugin(cluster: Cluster, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    team.train("shown", {"steps": 2}).wait_phase("Succeeded")
    table = cluster.kubectl("trainmaster", "get", "--namespace", team.name).stdout

    assert "shown" in table
    assert "Succeeded" in table
