"""The life of runs as their users see it: an operator process, real controllers, and pods that end as tests say."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.cluster_runs import CLAIM, JOBS, PODS, UserRun, fresh_namespace
from tests.support.control_plane import ControlPlane
from tests.support.operator_process import Operator, running_operator
from trainmaster.api.conditions import Outcome

Wire = dict[str, Any]
NewRun = Callable[[str], UserRun]


@pytest.fixture(scope="module")
def arena(plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(plane, claim=CLAIM) as name:
        yield name


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, arena: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator of one namespace: other tests of this run have operators of their own."""
    flags = ("--namespace", arena, "--lease-namespace", arena)
    with running_operator(plane.kubeconfig, *flags, folder=tmp_path_factory.mktemp("operator")) as operator:
        operator.wait_until_leading()
        yield operator
        assert operator.process.poll() is None, f"the operator has ended: {operator.told}"
        assert "Traceback" not in operator.told


@pytest.fixture
def new_run(plane: ControlPlane, arena: str, operator: Operator) -> NewRun:
    def make(name: str) -> UserRun:
        return UserRun(plane=plane, namespace=arena, name=f"{name}-{secrets.token_hex(3)}")

    return make


def conditions(run: UserRun) -> dict[str, str]:
    return {c["type"]: c["status"] for c in run.status["conditions"]}


def causes(run: UserRun) -> list[str]:
    """Why each launch was opened."""
    return [d["reason"] for d in run.decisions("Launch")]


# -- endings ----------------------------------------------------------------------------------------------------------


def test_a_run_gets_a_job_runs_and_succeeds(new_run: NewRun) -> None:
    run = new_run("good")
    created = run.create()
    run.until_running()
    job = run.jobs()[0]
    assert job["metadata"]["name"] == run.job(1)
    owner = job["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"]) == (created["metadata"]["uid"], True)
    assert conditions(run) == {"Ready": "True", "Succeeded": "Unknown"}

    run.succeed()
    assert conditions(run) == {"Ready": "True", "Succeeded": "True"}
    status = run.status
    assert (status["phase"], status["launch"], status["observedGeneration"]) == ("Succeeded", 1, 1)
    assert run.condition("Succeeded")["message"] == "said Completed"
    assert {"finalizers", "annotations"}.isdisjoint(run.get()["metadata"]), "nothing of ours is left on the object"
    assert len(run.jobs()) == 1, "and the Job stays"


def test_a_pod_that_no_node_takes_is_replaced_when_the_spec_says_another_place(new_run: NewRun) -> None:
    run = new_run("misplaced")
    run.create(nodeSelector={"pool": "nowhere"})
    run.until_condition("Ready", "False", reason="Unschedulable")
    run.edit(nodeSelector=None)
    run.until_running(2)

    status = run.status
    assert causes(run) == ["FirstLaunch", "PlacementChanged"]
    assert (status.get("crashes", 0), status.get("disruptions", 0), status["plan"]["generation"]) == (0, 0, 1)
    assert [job["spec"]["template"]["spec"].get("nodeSelector") for job in run.jobs()] == [None], "the first is gone"
    run.succeed()
    assert run.status["launch"] == 2


def test_bad_configuration_is_not_launched_again(new_run: NewRun) -> None:
    run = new_run("wrong")
    run.create()
    run.end(78)
    assert run.until_condition("Succeeded", "False")["reason"] == "InvalidConfiguration"
    run.until(run.records, what="the record")
    assert conditions(run) == {"Ready": "False", "Stalled": "True", "Succeeded": "False"}
    assert (run.status["launch"], len(run.jobs())) == (1, 1)


def test_a_crash_is_launched_again_as_long_as_the_budget_lasts(new_run: NewRun) -> None:
    run = new_run("crashing")
    run.create(recovery={"budgets": {"crashes": 1}})
    run.end(137)
    run.until_running(2)
    assert run.status["crashes"] == 1
    run.end(1, outcome=Outcome.FAILED, reason="Crashed", crashes=1)
    condition = run.until_condition("Succeeded", "False")
    assert condition["reason"] == "CrashBudgetExhausted"
    assert "2 crashes, 1 allowed" in condition["message"]
    assert (run.status["launch"], causes(run)) == (2, ["FirstLaunch", "Crashed"])


def test_a_launcher_that_asks_for_a_new_pod_gets_one(new_run: NewRun) -> None:
    run = new_run("retrying")
    run.create(recovery={"budgets": {"crashes": 0}})
    run.end(75, outcome=Outcome.RETRY, reason="Disrupted")
    run.until_running(2)
    assert (run.status["disruptions"], run.status["crashes"]) == (1, 0)


def test_an_eviction_is_counted_and_not_charged(new_run: NewRun) -> None:
    run = new_run("evicted")
    run.create(recovery={"budgets": {"crashes": 0}})
    run.until_running()
    pod = run.running_pods()[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": run.namespace}}
    path = f"{PODS.format(run.namespace)}/{pod}/eviction"
    assert run.plane.request("POST", path, eviction).status == 201
    run.until_running(2)
    assert (run.status["disruptions"], run.status["crashes"], causes(run)) == (1, 0, ["FirstLaunch", "Disrupted"])


def test_a_job_that_completes_without_a_verdict_is_no_success(new_run: NewRun) -> None:
    run = new_run("mute")
    run.create()
    run.end(0)
    run.until(lambda: run.status.get("phase") == "Unknown", what="phase Unknown")
    assert run.condition("Succeeded")["status"] == "Unknown"
    assert "neither success nor failure" in run.condition("Succeeded")["message"]


# -- what users want --------------------------------------------------------------------------------------------------


def test_a_run_is_suspended_and_resumed(new_run: NewRun) -> None:
    run = new_run("resting")
    run.create()
    run.until_running()
    run.edit(suspend=True)
    run.until_condition("Suspended", "True")
    assert (run.status["phase"], run.jobs(), run.pods()) == ("Suspended", [], [])
    run.edit(suspend=False)
    run.until_running(2)
    assert "Suspended" not in conditions(run)
    assert causes(run) == ["FirstLaunch", "Resumed"]
    assert (run.status["disruptions"], run.status["crashes"]) == (0, 0)


def test_a_run_that_is_created_suspended_has_no_job(new_run: NewRun) -> None:
    run = new_run("waiting")
    run.create(suspend=True)
    run.until_condition("Suspended", "True")
    assert (run.status["launch"], run.jobs()) == (0, [])


def test_a_rerun_trains_again_under_the_same_object(new_run: NewRun) -> None:
    run = new_run("again")
    run.create()
    run.succeed()
    run.edit(rerun="2", command=["python", "other.py"])
    run.until_running(2)
    assert run.condition("Succeeded")["status"] == "Unknown"
    assert (run.status["reruns"], run.status["observedRerun"]) == (1, "2")
    run.succeed()
    first, second = run.records()
    assert (first.get("rerun", ""), second["rerun"]) == ("", "2")
    assert (first["launches"], second["launches"]) == (1, 2)
    assert first["specHash"] != second["specHash"]


def test_a_deleted_run_takes_its_job_and_pod_along(new_run: NewRun) -> None:
    run = new_run("gone")
    uid = run.create()["metadata"]["uid"]
    run.until_running()
    run.delete()
    run.until(lambda: not run.jobs(uid=uid) and not run.pods(uid=uid), what="its children to be gone")
    assert run.get() == {}


# -- records ----------------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_once_and_its_record_outlives_it(new_run: NewRun) -> None:
    run = new_run("recorded")
    uid = run.create()["metadata"]["uid"]
    run.succeed()
    record = run.records()[0]
    assert (record["runUid"], record["outcome"], record["reason"]) == (uid, "Succeeded", "Completed")
    assert (record["launches"], record["completionTime"]) == (1, run.status["completionTime"])
    run.edit(ttlSecondsAfterFinished=0)
    run.until(lambda: not run.jobs(), what="its Jobs to be deleted")
    run.delete()
    run.until(lambda: not run.get(), what="the run to be gone")
    assert run.records() == [record]


def test_a_run_that_is_deleted_and_applied_again_takes_its_result_over(new_run: NewRun) -> None:
    run = new_run("applied")
    first = run.create()["metadata"]["uid"]
    run.succeed()
    run.delete()
    run.until(lambda: not run.get(), what="the run to be gone")

    second = run.create()["metadata"]["uid"]
    condition = run.until_condition("Succeeded", "True")
    assert condition["reason"] == "AlreadyTrained"
    assert first in condition["message"]
    assert (run.status["launch"], run.jobs(uid=second)) == (0, [])
    assert [record["runUid"] for record in run.records()] == [first], "what took a result over is no result"

    run.delete()
    run.until(lambda: not run.get(), what="the run to be gone")
    run.create(rerunPolicy="Always")
    run.until_running()


# -- other hands ------------------------------------------------------------------------------------------------------


def test_a_status_that_a_user_has_edited_is_put_right(new_run: NewRun) -> None:
    run = new_run("edited")
    run.create()
    run.until_running()
    job = run.jobs()[0]["metadata"]["uid"]
    run.write_status({"phase": "Succeeded?", "launch": 0, "conditions": None, "decisions": None})
    run.until_running()
    assert [each["metadata"]["uid"] for each in run.jobs()] == [job], "no launch is doubled"
    run.succeed()


def test_a_status_that_a_user_has_deleted_comes_back(new_run: NewRun) -> None:
    run = new_run("emptied")
    run.create()
    run.until_running()
    path, stored = f"{run.path}/status", run.get()
    assert run.plane.request("PUT", path, {**stored, "status": {}}).status == 200
    run.until_running()
    assert len(run.jobs()) == 1
    assert run.condition("Ready")["status"] == "True"


def test_a_job_that_a_user_has_deleted_is_a_disruption(new_run: NewRun) -> None:
    run = new_run("robbed")
    run.create(recovery={"budgets": {"crashes": 0}})
    run.until_running()
    path = f"{JOBS.format(run.namespace)}/{run.job(1)}"
    assert run.plane.request("DELETE", path, {"propagationPolicy": "Background"}).status == 200
    run.until_running(2)
    assert (run.status["disruptions"], run.status["crashes"]) == (1, 0)


def test_a_foreign_job_with_our_name_is_neither_adopted_nor_deleted(new_run: NewRun) -> None:
    run = new_run("rival")
    uid = run.create(suspend=True)["metadata"]["uid"]
    labels = {"trainmaster.io/run-uid": uid, "trainmaster.io/launch": "1"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "theirs", "image": "theirs"}]}
    theirs: Wire = {
        "metadata": {"name": run.job(1), "labels": labels},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    foreign = run.plane.request("POST", JOBS.format(run.namespace), theirs).body["metadata"]["uid"]
    run.edit(suspend=False)

    assert run.until_condition("Stalled", "True")["reason"] == "NameConflict"
    assert conditions(run)["Ready"] == "False"
    run.edit(suspend=True)
    run.until_condition("Suspended", "True")
    run.delete()
    run.until(lambda: not run.get(), what="the run to be gone")
    left = run.plane.request("GET", f"{JOBS.format(run.namespace)}/{theirs['metadata']['name']}").body
    assert left["metadata"]["uid"] == foreign
    assert "ownerReferences" not in left["metadata"]
    assert "deletionTimestamp" not in left["metadata"]
