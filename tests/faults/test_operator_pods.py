"""What nodes and schedulers do to pods costs the run no more than it should, and never makes a second living pod.

Cases 21, 24, 25, 26, 28 and 29 of the fault catalogue, as far as a cluster without kubelets can play them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.scene import Run, Scene
from trainmaster.api.conditions import EXIT_CONFIGURATION, Reason

Wire = dict[str, Any]

HOLD = "test.trainmaster.io/hold"
"""Annotation of a pod whose node does nothing any more."""


def pod_path(run: Run, *, launch: int) -> str:
    return f"/api/v1/namespaces/{run.scene.namespace}/pods/{run.pods(launch)[0]['metadata']['name']}"


def hold(run: Run, *, launch: int, held: bool) -> None:
    change = {"metadata": {"annotations": {HOLD: "yes" if held else None}}}
    assert run.scene.plane.request("PATCH", pod_path(run, launch=launch), change).status == 200


def test_21_a_pod_that_fits_nowhere_waits_as_long_as_it_takes(stage: Scene) -> None:
    run = stage.create("unschedulable", storage={"checkpoints": "pvc://not-there-yet"})
    run.wait_pod(launch=1, phase="Pending")
    run.wait_for(lambda: run.condition("Ready").get("reason") == Reason.UNSCHEDULABLE, what="why it waits")
    run.wait_settled()
    run.assert_quiet()
    assert (run.status["crashes"], run.status["disruptions"], run.status["launch"]) == (0, 0, 1)

    stage.plane.add_claim(stage.namespace, "not-there-yet")
    run.wait_running(launch=1)
    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    stage.assert_lawful()


def test_21_a_scheduling_deadline_ends_the_waiting(stage: Scene) -> None:
    run = stage.create("impatient", storage={"checkpoints": "pvc://never"}, schedulingDeadlineSeconds=1)
    run.wait_phase("Failed")

    assert run.condition("Stalled")["reason"] == Reason.SCHEDULING_DEADLINE_EXCEEDED
    run.wait_for(lambda: not run.jobs() and not run.pods(), what="nothing that waits is left")
    run.wait_settled()
    assert len(run.jobs_ever()) == 1
    stage.assert_lawful()


def test_24_a_container_that_the_kernel_killed_is_a_crash(stage: Scene) -> None:
    run = stage.create("oom")
    run.wait_running(launch=1)
    run.patch_pod_status(launch=1, status=killed(run))
    run.wait_running(launch=2)

    assert (run.status["crashes"], run.status["disruptions"]) == (1, 0)
    stage.assert_lawful()


def killed(run: Run) -> Wire:
    end = {"exitCode": 137, "reason": "OOMKilled", "startedAt": run.pods(1)[0]["status"]["startTime"]}
    container = {"name": "trainer", "image": "trainer:test", "imageID": "", "ready": False, "restartCount": 0}
    return {"phase": "Failed", "containerStatuses": [container | {"state": {"terminated": end}}]}


def test_25_a_configuration_that_no_retry_can_help_ends_the_run_at_once(stage: Scene) -> None:
    run = stage.create("misconfigured")
    run.wait_running(launch=1)
    run.finish(launch=1, exit_code=EXIT_CONFIGURATION)
    run.wait_ended("Failed", launches=1)

    assert run.condition("Stalled")["reason"] == Reason.INVALID_CONFIGURATION
    assert len(run.jobs_ever()) == 1
    run.assert_quiet()
    stage.assert_lawful()


@pytest.mark.parametrize("name", ["evicted", "evicted-unseen"])
def test_26_an_eviction_is_a_disruption_and_charged_to_nobody(stage: Scene, name: str) -> None:
    run = stage.create(name)
    run.wait_running(launch=1)
    if name == "evicted-unseen":
        stage.keeper.kill()
    path = pod_path(run, launch=1)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": path.rpartition("/")[2]}}
    assert stage.plane.request("POST", f"{path}/eviction", eviction).status == 201
    if name == "evicted-unseen":
        run.wait_for(lambda: not run.pods(), what="the pod is gone")
        stage.keeper.start()
    run.wait_running(launch=2)

    assert (run.status["crashes"], run.status["disruptions"]) == (0, 1)
    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)
    stage.assert_lawful()


def test_28_a_pod_on_a_lost_node_keeps_the_next_one_waiting_until_it_is_gone(stage: Scene) -> None:
    run = stage.create("lost")
    run.wait_running(launch=1)
    hold(run, launch=1, held=True)
    assert stage.plane.request("DELETE", pod_path(run, launch=1)).status == 200
    run.wait_for(lambda: "deletionTimestamp" in run.pods(1)[0]["metadata"], what="its pod is on its way out")

    run.wait_for(lambda: run.jobs(1)[0]["status"].get("terminating") == 1, what="the Job knows")
    run.assert_quiet()
    assert run.status["launch"] == 1, "whatever still runs there is the only one"
    hold(run, launch=1, held=False)
    run.wait_running(launch=2)

    assert (run.status["crashes"], run.status["disruptions"]) == (0, 1)
    stage.assert_lawful()


def test_29_a_node_that_flaps_changes_nothing(stage: Scene) -> None:
    run = stage.create("flapping")
    run.wait_running(launch=1)
    run.wait_settled()
    mark = len(stage.writes)
    for ready in ("False", "True", "False", "True"):
        run.patch_pod_status(launch=1, status={"conditions": [{"type": "Ready", "status": ready}]})
    run.wait_for(lambda: stage.history.newest("Pod", run.pods(1)[0]["metadata"]["name"]), what="the pod")
    run.assert_quiet()

    assert len(stage.writes) == mark
    assert run.status["phase"] == "Running"
    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    assert len(run.jobs_ever()) == 1
    stage.assert_lawful()
