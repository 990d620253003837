"""What schedulers and kubelets say of pods stands in the run's condition, costs the cheapest thing, and is charged to
whom it belongs.

Cases 21 to 24, 26, 28 and 29 of the fault catalogue, on nodes where the test is the kubelet.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.operator_process import wait_until
from tests.support.own_nodes import OwnNodes, lets_go, own_nodes, says_ended, says_running, says_waiting
from tests.support.scene import Run, Scene
from trainmaster.api.conditions import Reason


@pytest.fixture
def held(plane: ControlPlane) -> Iterator[OwnNodes]:
    """Two nodes on which nothing happens but what the test says."""
    with own_nodes(plane, 2, held=True) as nodes:
        yield nodes


def create(stage: Scene, name: str, nodes: OwnNodes, **spec: object) -> Run:
    """A run on these nodes, whose pods end soon when they are to end."""
    run = stage.create(name, **(nodes.spec | {"terminationGracePeriodSeconds": 5} | spec))
    run.wait_for(lambda: node_of(run, launch=1), what="a node has its pod")
    return run


def node_of(run: Run, *, launch: int) -> str:
    pods = run.pods(launch)
    return str(pods[0]["spec"].get("nodeName", "")) if pods else ""


def wait_reason(run: Run, phase: str, reason: str) -> str:
    """Wait until the run stands so; the sentence."""

    def stands() -> bool:
        return (run.status.get("phase"), run.condition("Succeeded").get("reason")) == (phase, reason)

    run.wait_for(stands, what=f"{phase}, {reason}")
    return str(run.condition("Succeeded")["message"])


def charged(run: Run) -> tuple[int, int]:
    """Crashes and disruptions."""
    return run.status["crashes"], run.status["disruptions"]


# -- pods that do not run ---------------------------------------------------------------------------------------------


def test_21_gpus_that_no_node_has_are_named_and_the_deadline_ends_the_waiting(stage: Scene) -> None:
    gpus = {"cpu": 1, "gpus": 2, "gpuResource": "example.com/gpu"}
    run = stage.create("greedy", resources=gpus, schedulingDeadlineSeconds=5)
    assert "Insufficient example.com/gpu" in wait_reason(run, "Pending", Reason.UNSCHEDULABLE)

    said = wait_reason(run, "Failed", Reason.SCHEDULING_DEADLINE_EXCEEDED)
    assert "Insufficient example.com/gpu" in said
    assert (charged(run), len(run.jobs_ever())) == ((0, 0), 1)
    run.wait_for(lambda: not run.pods(), what="nothing that waits is left")
    stage.assert_lawful()


def test_22_an_image_that_cannot_be_pulled_is_said_and_heals_when_it_appears(stage: Scene, held: OwnNodes) -> None:
    run = create(stage, "pulling", held, image="registry.invalid/team/train:1")
    says_waiting(run, launch=1, reason="ErrImagePull", message="registry.invalid: no such host")
    said = wait_reason(run, "Pending", Reason.IMAGE_PULL_FAILED)
    assert "no such host" in said
    run.wait_settled()
    run.assert_quiet()
    says_waiting(run, launch=1, reason="ImagePullBackOff", message="Back-off pulling image")
    run.assert_quiet()
    assert run.condition("Ready")["message"] == said, "the pause between two attempts is no news"

    says_running(run, launch=1)
    run.wait_running(launch=1)
    assert (charged(run), len(run.jobs_ever())) == ((0, 0), 1)
    assert run.told()[Reason.IMAGE_PULL_FAILED] == 1
    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    stage.assert_lawful()


def test_22_the_scheduling_deadline_bounds_the_pulling(stage: Scene, held: OwnNodes) -> None:
    run = create(stage, "never-pulled", held, schedulingDeadlineSeconds=5)
    says_waiting(run, launch=1, reason="ErrImagePull", message="not found")
    run.wait_for(lambda: "deletionTimestamp" in run.pods(1)[0]["metadata"], what="its pod is on its way out")
    lets_go(run, launch=1)

    assert "not found" in wait_reason(run, "Failed", Reason.SCHEDULING_DEADLINE_EXCEEDED)
    assert charged(run) == (0, 0)
    stage.assert_lawful()


def test_22_an_image_name_that_is_none_ends_the_run(stage: Scene, held: OwnNodes) -> None:
    run = create(stage, "misnamed", held, image="Not/A/Name")
    says_waiting(run, launch=1, reason="InvalidImageName", message="couldn't parse image name")
    run.wait_for(lambda: "deletionTimestamp" in run.pods(1)[0]["metadata"], what="its pod is on its way out")
    lets_go(run, launch=1)

    assert "couldn't parse" in wait_reason(run, "Failed", Reason.INVALID_CONFIGURATION)
    assert (charged(run), len(run.jobs_ever())) == ((0, 0), 1)
    stage.assert_lawful()


def test_23_a_container_that_cannot_be_made_is_said_and_heals(stage: Scene, held: OwnNodes) -> None:
    run = create(stage, "unmade", held)
    says_waiting(run, launch=1, reason="CreateContainerConfigError", message='secret "registry" not found')
    assert 'secret "registry" not found' in wait_reason(run, "Pending", Reason.CONTAINER_NOT_STARTED)

    says_running(run, launch=1)
    run.wait_running(launch=1)
    assert (charged(run), run.status["launch"]) == ((0, 0), 1)
    stage.assert_lawful()


# -- pods that end ----------------------------------------------------------------------------------------------------


def test_24_memory_that_runs_out_twice_at_the_same_step_ends_the_run_with_the_way_out(
    stage: Scene, held: OwnNodes
) -> None:
    run = create(stage, "hungry", held, resources={"cpu": 1, "memory": "1Gi"})
    for launch in (1, 2):
        run.wait_for(lambda launch=launch: node_of(run, launch=launch), what=f"launch {launch}")
        says_running(run, launch=launch)
        run.wait_running(launch=launch)
        says_ended(run, launch=launch, exit_code=137, reason="OOMKilled")

    assert "spec.resources.memory" in wait_reason(run, "Failed", Reason.OUT_OF_MEMORY)
    assert (charged(run), len(run.jobs_ever())) == ((2, 0), 2)
    assert "OOMKilled" in run.status["lastCrash"]
    assert "nodeFailures" not in run.status or not run.status["nodeFailures"], "it met its own limit"
    stage.assert_lawful()


def test_26_what_took_the_pod_stands_in_the_decision_to_launch_again(stage: Scene, held: OwnNodes) -> None:
    run = create(stage, "pressed", held)
    says_running(run, launch=1)
    run.wait_running(launch=1)
    evicts(run, launch=1)
    run.wait_for(lambda: run.status.get("launch") == 2, what="the next launch")

    launch = run.decisions[-1]
    assert (launch["reason"], charged(run)) == (Reason.DISRUPTED, (0, 1))
    assert "The node was low on resource: memory" in launch["evidence"]
    assert node_of(run, launch=1) in launch["evidence"]
    stage.assert_lawful()


def evicts(run: Run, *, launch: int) -> None:
    """What a kubelet under pressure says of a pod."""
    target = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": "evicted"}
    message = "The node was low on resource: memory"
    says_ended(run, launch=launch, exit_code=137, reason="Error", message=message, conditions=[target])


def test_26_a_pod_that_somebody_deleted_while_nobody_looked_is_a_disruption(stage: Scene) -> None:
    run = stage.create("robbed-unseen")
    run.wait_running(launch=1)
    stage.keeper.kill()
    pod = run.pods(1)[0]["metadata"]["name"]
    assert stage.plane.request("DELETE", f"/api/v1/namespaces/{stage.namespace}/pods/{pod}").status == 200
    run.wait_for(lambda: not run.pods(), what="the pod is gone")
    stage.keeper.start()
    run.wait_running(launch=2)

    assert charged(run) == (0, 1)
    assert "its pod was deleted" in run.decisions[-1]["evidence"]
    stage.assert_lawful()


def test_a_node_that_fails_twice_is_avoided_by_the_launch_after(stage: Scene, plane: ControlPlane) -> None:
    with own_nodes(plane, 2, held=True) as nodes:
        bad, good = nodes.names
        plane.kubectl("cordon", good)
        run = create(stage, "unlucky", nodes)
        for launch in (1, 2):
            run.wait_for(lambda launch=launch: node_of(run, launch=launch) == bad, what=f"launch {launch}")
            says_running(run, launch=launch)
            run.wait_running(launch=launch)
            if launch == 2:
                plane.kubectl("uncordon", good)
            evicts(run, launch=launch)
        run.wait_for(lambda: node_of(run, launch=3), what="launch 3")

        assert node_of(run, launch=3) == good
        (known,) = run.status["nodeFailures"]
        assert (known["node"], known["failures"], charged(run)) == (bad, 2, (0, 2))
        assert f"avoids {bad}" in run.decisions[-1]["evidence"]
        stage.assert_lawful()
        run.delete()
        run.wait_for(lambda: not run.wire, what="the run is gone")


# -- kubelets that fall silent ----------------------------------------------------------------------------------------

UNREACHABLE = "node.kubernetes.io/unreachable"


def test_29_a_kubelet_that_is_silent_for_less_than_the_toleration_changes_nothing(stage: Scene, held: OwnNodes) -> None:
    run = create(stage, "patient", held)
    says_running(run, launch=1)
    run.wait_running(launch=1)
    run.wait_settled()
    mark, node = len(stage.writes), node_of(run, launch=1)
    held.set_ready(node, "Unknown")
    wait_until(lambda: UNREACHABLE in held.taints(node), what="the node controller has given it up for now")
    not_ready = {"conditions": [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]}
    run.patch_pod_status(launch=1, status=not_ready)
    run.assert_quiet()
    held.set_ready(node, "True")
    says_running(run, launch=1)
    run.assert_quiet()

    assert (len(stage.writes), run.status["phase"], charged(run)) == (mark, "Running", (0, 0))
    stage.assert_lawful()


def test_28_a_kubelet_that_stays_silent_is_a_lost_node_and_no_pod_starts_until_the_first_is_gone(
    stage: Scene, held: OwnNodes
) -> None:
    impatient = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    tolerations = [*held.spec["tolerations"], impatient]
    run = create(stage, "abandoned", held, tolerations=tolerations)
    says_running(run, launch=1)
    run.wait_running(launch=1)
    lost = node_of(run, launch=1)
    held.set_ready(lost, "Unknown")

    said = wait_reason(run, "Pending", Reason.NODE_LOST)
    assert lost in said
    assert "DeletionByTaintManager" in said
    run.assert_quiet()
    assert (run.status["launch"], len(run.jobs_ever()), charged(run)) == (1, 1, (0, 0))

    held.remove(lost)
    run.wait_for(lambda: not run.pods(1), what="the pod garbage collector has taken the pod of a node that is no more")
    run.wait_for(lambda: run.status.get("launch") == 2, what="the next launch")
    assert charged(run) == (0, 1)
    assert [known["node"] for known in run.status["nodeFailures"]] == [lost]
    stage.assert_lawful()


# -- queues -----------------------------------------------------------------------------------------------------------


def test_a_job_that_a_queue_suspends_is_queued_and_goes_on_as_the_same_job(stage: Scene) -> None:
    run = stage.create("queued", schedulingDeadlineSeconds=600)
    run.wait_running(launch=1)
    uid = run.jobs(1)[0]["metadata"]["uid"]
    suspend(run, suspended=True)
    wait_reason(run, "Queued", Reason.JOB_QUEUED)
    run.wait_for(lambda: not run.pods(), what="its pod is gone")
    run.wait_settled()
    run.assert_quiet()
    job = run.jobs(1)[0]
    assert (job["metadata"]["uid"], job["spec"]["suspend"], len(run.jobs_ever())) == (uid, True, 1)
    assert not [c for c in job["status"].get("conditions", []) if c["type"] == "Failed"]

    suspend(run, suspended=False)
    run.wait_running(launch=1)
    assert (run.jobs(1)[0]["metadata"]["uid"], charged(run)) == (uid, (0, 0))
    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    stage.assert_lawful()


def suspend(run: Run, *, suspended: bool) -> None:
    name = run.jobs(1)[0]["metadata"]["name"]
    path = f"/apis/batch/v1/namespaces/{run.scene.namespace}/jobs/{name}"
    assert run.scene.plane.request("PATCH", path, {"spec": {"suspend": suspended}}).status == 200
