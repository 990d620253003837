"""A newer version comes and is taken back, CRD and operator: what it wrote is kept, and no run loses anything.

The CRDs of a whole control plane are changed here, so it is one of its own. Definitions that are older than the
operator are in test_other_kinds.
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


def serve(plane: ControlPlane, crd: Wire, *, arena: str) -> None:
    """Apply a CRD; returns when the API server judges by it."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(crd))
    probe = UserRun(plane=plane, namespace=arena, name=f"probe-{secrets.token_hex(3)}")
    probe.create(suspend=True, command=["nothing"])
    every = {"observedGeneration": 1, "forecast": FORECAST, "decisions": [POSTPONED]}
    wanted = status_of(crd)

    def judged() -> bool:
        kept = plane.request("PATCH", f"{probe.path}/status?dryRun=All", {"status": every}).body["status"]
        return ("forecast" in kept) == ("forecast" in wanted) == ("horizon" in kept["decisions"][0])

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
