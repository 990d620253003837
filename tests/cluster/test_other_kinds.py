"""A cluster whose definitions of our kinds are missing, older, newer or looser than this program's."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_runs import CLAIM, RUNS, SPEC, UserRun, fresh_namespace, run_manifest
from tests.support.control_plane import ControlPlane, start_control_plane
from tests.support.operator_process import Operator, running_operator, wait_until
from trainmaster.api.crds import all_crds

Wire = dict[str, Any]
Change = Callable[[Wire], object]
"""Changes the one version of a definition of TrainingRun."""
LOOSE: Wire = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
ANYTHING: Wire = {"x-kubernetes-preserve-unknown-fields": True}


@pytest.fixture(scope="module")
def bare() -> Iterator[ControlPlane]:
    """A control plane that has never heard of us: no other test may see what is done to its definitions."""
    with start_control_plane() as plane:
        plane.add_node("fake-node", gpus=8)
        yield plane


@pytest.fixture
def arena(bare: ControlPlane) -> Iterator[str]:
    with fresh_namespace(bare, claim=CLAIM) as name:
        yield name


def schema(version: Wire, part: str) -> Wire:
    """The schema of spec or status."""
    found: Wire = version["schema"]["openAPIV3Schema"]["properties"][part]
    return found


def define(plane: ControlPlane, *changes: Change) -> None:
    """Apply our definitions, that of TrainingRun changed, and wait until they are served."""
    for crd in copy.deepcopy(all_crds()):
        if crd["spec"]["names"]["kind"] == "TrainingRun":
            for change in changes:
                change(crd["spec"]["versions"][0])
        plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(crd))
        plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/{crd['metadata']['name']}")


def verdict(plane: ControlPlane) -> tuple[bool, str]:
    """What selftest says of the kind TrainingRun."""
    done = subprocess.run(
        [sys.executable, "-m", "trainmaster.cli.main", "selftest", "--cluster", "-o", "json"],
        env=os.environ | {"KUBECONFIG": str(plane.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    (found,) = [one for one in json.loads(done.stdout) if one["name"] == "kind trainingruns.trainmaster.io"]
    assert done.returncode == (0 if found["passed"] else 1)
    return found["passed"], found["detail"]


def until_verdict(plane: ControlPlane, words: str, *, passed: bool) -> None:
    """Wait until the API server has published its definitions, and selftest says this of them."""

    def says() -> bool:
        fits, detail = verdict(plane)
        return fits == passed and words in detail

    wait_until(says, what=f"{words!r}; it is {verdict(plane)}")


@pytest.fixture
def operator(bare: ControlPlane, arena: str, tmp_path: Path) -> Iterator[Operator]:
    flags = ("--namespace", arena, "--lease-namespace", arena)
    with running_operator(bare.kubeconfig, *flags, folder=tmp_path) as operator:
        yield operator
        assert operator.process.poll() is None
        assert "Traceback" not in operator.told


def test_an_operator_that_comes_before_its_kinds_waits_for_them(
    bare: ControlPlane, arena: str, operator: Operator
) -> None:
    wait_until(lambda: "no TrainingRun can be seen" in operator.told, what="clear words")
    assert "apply what `trainmaster crds` prints" in operator.told
    assert (operator.get("/readyz")[0], operator.get("/healthz")[0]) == (503, 200)
    until_verdict(bare, "trainingruns.trainmaster.io is not served in version v1alpha1: trainmaster crds", passed=False)
    define(bare)
    run = UserRun(plane=bare, namespace=arena, name="early")
    run.create()
    run.until_running()
    wait_until(lambda: operator.get("/readyz")[0] == 200, what="an operator that is ready")
    until_verdict(bare, "as this program knows it", passed=True)


@pytest.mark.parametrize(
    ("change", "passed", "words"),
    [
        (lambda v: schema(v, "status")["properties"].pop("decisions"), False, "older than this program: it lacks"),
        (
            lambda v: schema(v, "spec")["properties"].update(novelty={"type": "string"}),
            True,
            "newer than this program: it also has spec.novelty",
        ),
        (
            lambda v: schema(v, "spec")["properties"]["resources"]["properties"]["cpu"].update(maximum=2),
            False,
            "has other rules than this program, for spec.resources.cpu",
        ),
    ],
)
def test_selftest_tells_older_newer_and_other_definitions(
    *, bare: ControlPlane, change: Change, passed: bool, words: str
) -> None:
    define(bare, change)
    until_verdict(bare, words, passed=passed)


def test_decisions_that_an_older_definition_drops_are_not_acted_on(
    bare: ControlPlane, arena: str, operator: Operator
) -> None:
    define(bare, lambda version: schema(version, "status")["properties"].pop("decisions"))
    until_verdict(bare, "status.decisions", passed=False)
    run = UserRun(plane=bare, namespace=arena, name="forgetful")
    run.create()
    wait_until(lambda: operator.told.count("does not keep status.decisions") > 1, what="clear words")
    assert (run.status.get("launch"), run.jobs()) == (None, []), "and nothing is said that is not so"
    define(bare)
    run.until_running()
    assert (run.status["launch"], run.status["disruptions"]) == (1, 0)


def test_a_run_that_cannot_be_read_says_so_and_holds_up_nobody(
    bare: ControlPlane, arena: str, operator: Operator
) -> None:
    define(bare, lambda version: schema(version, "spec")["properties"]["resources"]["properties"].update(cpu=ANYTHING))
    until_verdict(bare, "spec.resources.cpu", passed=False)
    odd = UserRun(plane=bare, namespace=arena, name="odd")
    wrong = run_manifest("odd", SPEC | {"resources": {"cpu": "many"}})
    assert bare.request("POST", RUNS.format(arena), wrong).status == 201
    condition = odd.until_condition("Stalled", "True", reason="InvalidConfiguration")
    assert "spec.resources.cpu" in condition["message"]
    assert odd.condition("Ready")["status"] == "False"
    good = UserRun(plane=bare, namespace=arena, name="good")
    good.create()
    good.until_running()
    assert operator.told.count("it is left alone until then") == 1, "said once"
    odd.edit(resources={"cpu": 1}, rerun="fixed")
    odd.until_running()
    assert odd.condition("Stalled") == {}
