"""Operators that come and go, and namespaces that go: runs are picked up, and nothing is left of what is deleted."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.cluster_runs import CLAIM, JOBS, NAMESPACES, PODS, RECORDS, RUNS, UserRun, fresh_namespace
from tests.support.control_plane import ControlPlane
from tests.support.operator_process import Operator, running_operator, wait_until


@pytest.fixture(scope="module")
def arena(plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(plane, claim=CLAIM) as name:
        yield name


@pytest.fixture
def run(plane: ControlPlane, arena: str) -> UserRun:
    return UserRun(plane=plane, namespace=arena, name=f"alone-{secrets.token_hex(3)}")


def serving(plane: ControlPlane, folder: Path, *namespaces: str) -> AbstractContextManager[Operator]:
    """An operator of these namespaces. Without a Lease: that of one which was killed would have to expire first."""
    flags = [word for name in namespaces for word in ("--namespace", name)]
    return running_operator(plane.kubeconfig, *flags, folder=folder, elect=False)


def left_in(plane: ControlPlane, namespace: str) -> list[str]:
    """Names of what runs leave in a namespace."""
    answers = [plane.request("GET", kind.format(namespace)).body for kind in (RUNS, RECORDS, JOBS, PODS)]
    return [item["metadata"]["name"] for answer in answers for item in answer["items"]]


def test_a_run_lives_through_operators_that_come_and_go(run: UserRun, tmp_path: Path) -> None:
    run.create()
    with serving(run.plane, tmp_path, run.namespace) as first:
        run.until_running()
        first.kill()
    run.end(75)
    with serving(run.plane, tmp_path, run.namespace) as second:
        run.until_running(2)
        assert run.status["disruptions"] == 1
        assert second.stop() == 0
    run.edit(suspend=True)
    with serving(run.plane, tmp_path, run.namespace):
        run.until_condition("Suspended", "True")
    assert [job["metadata"]["name"] for job in run.jobs()] == [run.job(1)], "only what has ended is left"
    assert [d["reason"] for d in run.decisions("Launch")] == ["FirstLaunch", "Disrupted"]


def test_a_run_that_is_deleted_while_no_operator_lives_leaves_no_child(run: UserRun, tmp_path: Path) -> None:
    uid = run.create()["metadata"]["uid"]
    with serving(run.plane, tmp_path, run.namespace) as operator:
        run.until_running()
        assert operator.stop() == 0
    run.delete()
    # The garbage collector takes up to a minute to know a kind whose definition is fresh.
    run.until(lambda: not run.jobs(uid=uid) and not run.pods(uid=uid), what="its children to be gone")
    assert run.get() == {}


def test_a_namespace_goes_with_its_runs_and_the_operator_goes_on(run: UserRun, tmp_path: Path) -> None:
    plane = run.plane
    with fresh_namespace(plane, claim=CLAIM) as doomed, serving(plane, tmp_path, run.namespace, doomed) as operator:
        lost = [UserRun(plane=plane, namespace=doomed, name=f"lost-{number}") for number in range(3)]
        for each in lost:
            each.create()
        for each in lost:
            each.until_running()
        plane.request("DELETE", f"{NAMESPACES}/{doomed}")
        run.create()
        run.until_running()
        # The namespace itself goes some 16 s later: its controller pauses after it has seen the finalizers of pods.
        wait_until(lambda: not left_in(plane, doomed), what="all that is of runs to be gone")
        run.succeed()
        assert operator.process.poll() is None
        assert "Traceback" not in operator.told, operator.told
