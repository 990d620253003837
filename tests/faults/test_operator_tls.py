"""Certificates of the operators' own Secret, on a real API server: who fills it, who is trusted, who leads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy.proxy import fault_proxy
from tests.support.operator_process import Operator, running_operator, wait_until
from tests.support.pod_reporter import Launcher, point
from tests.support.scene import Run, Scene, scene

SECRET = "trainmaster-report-tls"


@pytest.fixture
def replicas(plane: ControlPlane, tmp_path: Path) -> Iterator[tuple[Scene, Operator]]:
    """Two replicas that start at once on a Secret without data."""
    with scene(plane, folder=tmp_path, elect=True, start=False, flags=("--tls-secret", SECRET)) as stage:
        flags = ("--namespace", stage.namespace, "--lease-namespace", stage.namespace, "--tls-secret", SECRET)
        path = f"/api/v1/namespaces/{stage.namespace}/secrets"
        assert plane.request("POST", path, {"metadata": {"name": SECRET, "labels": {"made": "by-chart"}}}).status == 201
        with (
            fault_proxy(plane) as proxy,
            running_operator(proxy.kubeconfig, *flags, folder=tmp_path, name="second") as second,
        ):
            stage.keeper.start()
            yield stage, second


def secret_of(stage: Scene) -> dict[str, Any]:
    answer = stage.plane.request("GET", f"/api/v1/namespaces/{stage.namespace}/secrets/{SECRET}")
    found: dict[str, Any] = answer.body
    return found


def given_trust(run: Run) -> str:
    """The authorities in the environment of a launch."""
    [container] = run.pods(1)[0]["spec"]["containers"]
    found = [each["value"] for each in container["env"] if each["name"] == "TRAINMASTER_CA_PEM"]
    return str(found[0])


def test_two_replicas_fill_one_secret_and_launchers_trust_both(replicas: tuple[Scene, Operator]) -> None:
    stage, second = replicas
    both = (stage.operator, second)
    for operator in both:
        wait_until(lambda operator=operator: operator.get("/readyz")[0] == 200, what="a ready replica")  # type: ignore[misc]  # mypy knows no defaults of lambdas
    secret = secret_of(stage)
    assert {"ca.crt", "ca.key", "tls.crt", "tls.key"} <= secret["data"].keys()
    assert secret["metadata"]["labels"] == {"made": "by-chart"}
    told = [operator.told.count("is brought up to date") for operator in both]
    assert sorted(told) == [0, 1], "one has written, the other read"

    run = stage.create("trusting")
    run.wait_running(launch=1)
    trust = given_trust(run)
    wait_until(lambda: sum(one.metric("leader_election_master_status") for one in both) == 1, what="one that leads")
    leader, other = sorted(both, key=lambda one: -one.metric("leader_election_master_status"))
    status, reply = Launcher(run, launch=1, url=leader.report_url, trust=trust).report(point(1))
    assert (status, reply["haveSeq"], reply["trust"]) == (200, 1, trust)
    status, said = Launcher(run, launch=1, url=other.report_url, trust=trust).report(point(1))
    assert (status, said["location"]) == (421, leader.report_url)
    assert [one.get("/readyz")[0] for one in both] == [200, 200], "one that does not lead is ready, too"

    before = secret_of(stage)["data"]
    assert leader.stop() == 0
    other.wait_until_leading()
    assert Launcher(run, launch=1, url=other.report_url, trust=trust).report(point(1))[0] == 200
    assert secret_of(stage)["data"] == before


def test_an_operator_without_its_secret_says_so_and_makes_no_job(plane: ControlPlane, tmp_path: Path) -> None:
    with scene(plane, folder=tmp_path, start=False, flags=("--tls-secret", SECRET)) as stage:
        operator = stage.keeper.start()
        run = stage.create("waits")
        wait_until(lambda: "create it without data" in operator.get("/readyz")[1], what="the reason")
        assert operator.get("/healthz")[0] == 200
        assert run.jobs() == []

        path = f"/api/v1/namespaces/{stage.namespace}/secrets"
        # Outside a cluster, and without a Lease, its own namespace is the kubeconfig's.
        default = "/api/v1/namespaces/default/secrets"
        assert "default" in operator.get("/readyz")[1]
        assert plane.request("GET", f"{path}/{SECRET}").status == 404
        assert plane.request("POST", default, {"metadata": {"name": SECRET}}).status == 201
        try:
            run.wait_running(launch=1)
            assert given_trust(run).startswith("-----BEGIN CERTIFICATE-----")
        finally:
            plane.request("DELETE", f"{default}/{SECRET}")
