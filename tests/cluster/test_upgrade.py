"""The CRDs are newer or older than the operator: what a newer version wrote is kept, and nothing is done unwritten.

These tests change the CRDs of a whole control plane, so they have one of their own.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster_fixtures import CRDS, prepare
from tests.support.cluster_runs import CLAIM, UserRun, fresh_namespace
from tests.support.control_plane import ControlPlane, start_control_plane
from tests.support.operator_process import Operator, running_operator

Wire = dict[str, Any]

NOW: Wire = yaml.safe_load((CRDS / "trainmaster.io_trainingruns.yaml").read_text())
FORECAST = {"steps": 5, "by": ["a", "b"]}
"""A field of status that a newer version has."""
POSTPONED: Wire = {
    "id": "from-the-future",
    "kind": "Postpone",
    "reason": "MoonPhase",
    "state": "Waiting",
    "time": "2026-01-02T03:04:05Z",
    "launch": 1,
    "horizon": "far",
}
"""A decision of a kind and in a state that only a newer version knows, with a member of its own."""


@pytest.fixture(scope="module")
def own_plane() -> Iterator[ControlPlane]:
    with start_control_plane() as plane:
        prepare(plane)
        yield plane


@pytest.fixture(scope="module")
def arena(own_plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(own_plane, claim=CLAIM) as name:
        yield name


@pytest.fixture
def run(own_plane: ControlPlane, arena: str) -> Iterator[UserRun]:
    """A run, under today's CRD before and after."""
    yield UserRun(plane=own_plane, namespace=arena, name=f"kept-{secrets.token_hex(3)}")
    serve(own_plane, NOW, arena=arena)


@contextmanager
def serving(plane: ControlPlane, folder: Path) -> Iterator[Operator]:
    """An operator of all namespaces: there is no other one."""
    with running_operator(plane.kubeconfig, folder=folder, elect=False) as operator:
        operator.wait_until_leading()
        yield operator
        assert operator.process.poll() is None, operator.told


@pytest.fixture
def operator(own_plane: ControlPlane, tmp_path: Path) -> Iterator[Operator]:
    with serving(own_plane, tmp_path) as operator:
        yield operator


def status_of(crd: Wire) -> Wire:
    """The properties of status in a CRD."""
    version = crd["spec"]["versions"][0]
    found: Wire = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    return found


def newer() -> Wire:
    """A CRD that knows more of status, as v1alpha1 grows: by optional fields."""
    crd = copy.deepcopy(NOW)
    steps, by = {"type": "integer"}, {"type": "array", "items": {"type": "string"}}
    status_of(crd)["forecast"] = {"type": "object", "properties": {"steps": steps, "by": by}}
    status_of(crd)["decisions"]["items"]["properties"]["horizon"] = {"type": "string"}
    return crd


def older(*, without: str, of: str = "") -> Wire:
    """A CRD that does not know a field of status yet, or a member of the items of one."""
    crd = copy.deepcopy(NOW)
    fields = status_of(crd)[of]["items"]["properties"] if of else status_of(crd)
    del fields[without]
    return crd


def serve(plane: ControlPlane, crd: Wire, *, arena: str) -> None:
    """Apply a CRD; returns when the API server judges by it."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(crd))
    probe = UserRun(plane=plane, namespace=arena, name=f"probe-{secrets.token_hex(3)}")
    probe.create(suspend=True, command=["nothing"])
    decision = POSTPONED | {"record": None}
    every = {"observedGeneration": 1, "forecast": FORECAST, "decisions": [decision]}
    wanted = status_of(crd)
    members = wanted["decisions"]["items"]["properties"] if "decisions" in wanted else {}

    def judged() -> bool:
        path = f"{probe.path}/status?dryRun=All"
        kept = plane.request("PATCH", path, {"status": every}).body["status"]
        known = kept.get("decisions", [{}])[0].keys()
        same = ("forecast" in kept) == ("forecast" in wanted) and ("decisions" in kept) == ("decisions" in wanted)
        return same and ("horizon" in known) == ("horizon" in members)

    probe.until(judged, what="the API server to judge by the new CRD")
    probe.delete()


def test_what_a_newer_version_wrote_is_kept_and_taking_it_back_loses_nothing(
    own_plane: ControlPlane, arena: str, run: UserRun, tmp_path: Path
) -> None:
    run.create()
    with serving(own_plane, tmp_path):
        run.until_running()

    # The newer version comes: first its CRD, then its operator, which is played here.
    serve(own_plane, newer(), arena=arena)
    run.write_status({"forecast": FORECAST, "decisions": [POSTPONED, *run.status["decisions"]]})
    # It is taken back: first the operator.
    with serving(own_plane, tmp_path):
        run.end(75)
        run.until_running(2)
        assert run.status["forecast"] == FORECAST
        kept = run.decisions("Postpone")[0]
        assert kept.items() >= POSTPONED.items(), "with its member that this version does not know"
        known = {d["id"] for d in run.status["decisions"]}

        serve(own_plane, NOW, arena=arena)
        run.end(137)
        run.until_running(3)
        status = run.status
        assert "forecast" not in status, "the API server itself drops what its CRD does not know"
        assert known < {d["id"] for d in status["decisions"]}
        assert (status["launch"], status["disruptions"], status["crashes"]) == (3, 1, 1)
        run.end(0, outcome="Completed")
        run.until_condition("Succeeded", "True")
        run.until(run.records, what="the record")
    assert [job["metadata"]["name"] for job in run.jobs()] == [run.job(launch) for launch in (1, 2, 3)]


def test_nothing_is_launched_on_a_journal_that_the_server_does_not_keep(
    own_plane: ControlPlane, arena: str, run: UserRun, operator: Operator
) -> None:
    serve(own_plane, older(without="decisions"), arena=arena)
    run.create()
    run.until(lambda: "did not keep status.decisions" in operator.told, what="the operator to say so")
    run.until(lambda: operator.told.count("did not keep status.decisions") > 1, what="it to have tried again")
    assert run.jobs() == []
    assert "trainmaster crds" in operator.told, "the way out"

    serve(own_plane, NOW, arena=arena)
    run.until(lambda: run.status.get("phase") == "Running", what="the run to be launched")
    assert len(run.jobs()) == 1
    run.succeed()


def test_a_run_ends_where_its_record_cannot_be_kept(
    own_plane: ControlPlane, arena: str, run: UserRun, operator: Operator
) -> None:
    run.create()
    run.until_running()
    serve(own_plane, older(without="record", of="decisions"), arena=arena)
    run.end(0, outcome="Completed")
    run.until_condition("Succeeded", "True")
    run.until(lambda: [d["state"] for d in run.decisions("Record")] == ["Void"], what="the record to be given up")
    assert run.records() == []
