"""The Python client against a real API server: what a user does with runs, and what becomes of waiting in bad times."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.client_calls import Call, Waiting
from tests.support.cluster_runs import SPEC, fresh_namespace, run_manifest
from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy.faults import CutWatches, Duplicate, ServerAway, WatchError410
from tests.support.fault_proxy.proxy import FaultProxy, fault_proxy
from tests.support.scene import Run, Scene, scene
from trainmaster import Client
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.client import (
    FieldConflictError,
    InvalidRunError,
    NoLogsError,
    RefusedError,
    RunDeletedError,
    RunEndedError,
    RunExistsError,
    RunNotFoundError,
    RunReplacedError,
    WaitTimeoutError,
)

Wire = dict[str, Any]

GUIDE = Path(__file__).parents[2] / "docs/how-to/use-the-client.md"


@pytest.fixture(scope="module")
def standing_scene(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(plane, folder=tmp_path_factory.mktemp("operator")) as found:
        yield found


@pytest.fixture(scope="module")
def standing_proxy(plane: ControlPlane) -> Iterator[FaultProxy]:
    """Between the client and the server; the operator has one of its own."""
    with fault_proxy(plane) as proxy:
        yield proxy


@pytest.fixture
def stage(standing_scene: Scene) -> Scene:
    return standing_scene


@pytest.fixture
def proxy(standing_proxy: FaultProxy) -> Iterator[FaultProxy]:
    yield standing_proxy
    standing_proxy.clear()


@pytest.fixture
def client(stage: Scene, proxy: FaultProxy) -> Client:
    return Client(kubeconfig=proxy.kubeconfig, namespace=stage.namespace)


def manifest(**spec: object) -> Wire:
    return run_manifest(f"mine-{secrets.token_hex(3)}", SPEC | spec)


def submit(client: Client, stage: Scene, **spec: object) -> Run:
    """A run that the client has submitted, as the scene knows it."""
    found = client.submit(manifest(**spec))
    return Run(scene=stage, name=found.metadata.name, uid=found.metadata.uid)


def succeed(run: Run, *, launch: int = 1) -> None:
    run.wait_running(launch=launch)
    run.finish(launch=launch)


# -- a run's life -----------------------------------------------------------------------------------------------------


def test_submit_wait_and_look_back(client: Client, stage: Scene) -> None:
    submitted = client.submit(manifest())
    run = Run(scene=stage, name=submitted.metadata.name, uid=submitted.metadata.uid)
    waiting = Waiting(client, submitted, until="succeeded").begun()
    run.wait_running(launch=1)
    as_reported = {
        "metrics": {"val_loss": "0.25"},
        "progress": {"step": 5, "totalSteps": 10, "epoch": 1, "percent": 50},
    }
    assert stage.plane.request("PATCH", f"{run.path}/status", {"status": as_reported}).status == 200
    run.finish(launch=1)

    ended = waiting.result
    assert (ended.metadata.uid, ended.status.phase) == (run.uid, "Succeeded")
    assert waiting.phases[-1] == "Succeeded"
    metrics = client.metrics(run.name)
    assert (metrics.latest, metrics.total_steps) == ({"val_loss": 0.25}, 10)
    assert {event.reason for event in client.events(run.name)} >= {"Completed"}
    [launch] = client.launches(run.name)
    assert (launch.launch, launch.ended, launch.exit_code) == (1, True, 0)
    assert run.name in [each.metadata.name for each in client.list()]


def test_a_wait_for_success_ends_when_the_run_fails(client: Client, stage: Scene) -> None:
    run = submit(client, stage)
    waiting = Waiting(client, run.name, until="succeeded").begun()
    run.wait_running(launch=1)
    run.finish(launch=1, exit_code=78)

    with pytest.raises(RunEndedError, match=r"Failed.*succeeded can no longer come; spec.rerun trains again") as caught:
        _ = waiting.result
    assert caught.value.run.status.phase == "Failed"
    assert client.wait(run.name, until="failed", timeout=1).metadata.uid == run.uid


def test_suspend_and_resume(client: Client, stage: Scene) -> None:
    run = submit(client, stage)
    run.wait_running(launch=1)
    assert client.suspend(run.name).spec.suspend
    client.wait(run.name, until="suspended", timeout=60)

    assert not client.resume(run.name).spec.suspend
    assert client.wait(run.name, until="running", timeout=60).status.launch == 2


def test_a_rerun_changes_what_is_trained_and_its_end_is_waited_for_anew(client: Client, stage: Scene) -> None:
    run = submit(client, stage)
    succeed(run)
    first = client.wait(run.name, until="succeeded", timeout=60)
    again = client.rerun(first, changes={"command": ["python", "better.py"]})
    assert (again.spec.command, again.spec.rerun != "") == (("python", "better.py"), True)
    waiting = Waiting(client, run.name, until="succeeded").begun()
    succeed(run, launch=2)

    assert waiting.result.status.launch == 2, "the success of before is none of the rerun's"
    with pytest.raises(RunEndedError, match="nothing to suspend"):
        client.suspend(run.name)


def test_a_rerun_is_judged_before_it_is_asked_for(client: Client, stage: Scene) -> None:
    run = submit(client, stage)
    with pytest.raises(InvalidRunError, match=r"spec\.resources\.cpu: .*at least 1"):
        client.rerun(run.name, changes={"resources": {"cpu": 0}})
    assert client.get(run.name).spec.rerun == ""


def test_delete_leaves_nothing(client: Client, stage: Scene) -> None:
    run = submit(client, stage)
    run.wait_running(launch=1)
    leaving = Call(lambda: client.wait_deleted(run.name, timeout=60))
    client.delete(run.name)

    assert leaving.result is None
    with pytest.raises(RunNotFoundError, match=rf"there is no TrainingRun {stage.namespace}/{run.name}"):
        client.delete(run.name)
    run.wait_gone()


def test_a_pod_whose_node_cannot_be_asked_is_told_of_at_once(client: Client, stage: Scene) -> None:
    run = submit(client, stage)
    run.wait_running(launch=1)
    with pytest.raises(RefusedError) as caught:
        list(client.logs(run.name))
    assert f"/pods/{run.pods(1)[0]['metadata']['name']}/log" in str(caught.value)


# -- submitting -------------------------------------------------------------------------------------------------------


def test_a_bad_manifest_never_leaves_the_house(client: Client, proxy: FaultProxy) -> None:
    mark = proxy.mark()
    with pytest.raises(InvalidRunError, match=r"spec\.resources\.cpus: unknown field") as caught:
        client.submit(manifest(resources={"cpus": 2}))

    assert [problem.path for problem in caught.value.problems] == ["spec.resources.cpus"]
    assert proxy.since(mark) == ()


def test_a_file_and_a_model_are_submitted_as_their_author_wrote_them(
    client: Client, stage: Scene, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "apiVersion: trainmaster.io/v1alpha1\nkind: TrainingRun\nmetadata: {name: from-file, labels: {team: a}}\n"
        "spec: {workload: custom, command: [python, x.py], suspend: true}\n"
    )
    from_file = client.submit(path)
    copy = TrainingRun.model_validate({"metadata": {"name": "from-model"}, "spec": from_file.spec.to_wire()})
    from_model = client.submit(copy)

    assert (from_file.metadata.labels, from_file.metadata.namespace) == ({"team": "a"}, stage.namespace)
    assert from_model.spec == from_file.spec
    assert [run.metadata.name for run in client.list(labels="team=a")] == ["from-file"]


def test_a_name_that_is_taken_is_refused_with_the_ways_out(client: Client) -> None:
    wanted = manifest(suspend=True)
    client.submit(wanted)

    with pytest.raises(RunExistsError, match=r"already; take another metadata.name, submit with apply=True"):
        client.submit(wanted)
    assert client.submit(wanted, apply=True).metadata.generation == 1, "the same again changes nothing"


def test_apply_keeps_off_what_others_have_set(client: Client, stage: Scene) -> None:
    wanted = manifest(suspend=True)
    client.submit(wanted, apply=True)
    theirs = {**wanted, "spec": wanted["spec"] | {"ttlSecondsAfterFinished": 60}}
    stage.plane.kubectl("apply", "--server-side", "-n", stage.namespace, "-f", "-", input=json.dumps(theirs))
    ours = {**wanted, "spec": wanted["spec"] | {"ttlSecondsAfterFinished": 90}}

    with pytest.raises(FieldConflictError, match=r'conflict with "kubectl".*ttlSecondsAfterFinished.*force=True'):
        client.submit(ours, apply=True)
    assert client.submit(ours, apply=True, force=True).spec.ttl_seconds_after_finished == 90


def test_what_defines_training_is_immutable_once_launched_and_the_refusal_says_the_ways_out(
    client: Client, stage: Scene
) -> None:
    wanted = manifest(suspend=True)
    found = client.submit(wanted, apply=True)
    run = Run(scene=stage, name=found.metadata.name, uid=found.metadata.uid)
    run.wait_phase("Suspended")
    wanted = {**wanted, "spec": wanted["spec"] | {"command": ["mended"], "suspend": False}}
    client.submit(wanted, apply=True)
    run.wait_for(lambda: run.status.get("launch"), what="a launch")
    with pytest.raises(RefusedError, match=r"immutable.*metadata.name.*spec.rerun") as caught:
        client.submit({**wanted, "spec": wanted["spec"] | {"command": ["other"]}}, apply=True)
    assert caught.value.status == 422


# -- bad times --------------------------------------------------------------------------------------------------------


def test_waiting_outlives_cuts_repetitions_and_a_server_that_is_away(
    client: Client, proxy: FaultProxy, stage: Scene
) -> None:
    run = submit(client, stage)
    waiting = Waiting(client, run.name, until="ended").begun()
    proxy.install(CutWatches())
    run.wait_running(launch=1)
    proxy.install(WatchError410(also_next=1))
    proxy.install(Duplicate())
    with_away = proxy.install(ServerAway())
    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    with_away.remove()

    assert waiting.result.status.phase == "Succeeded"


def test_a_run_that_is_deleted_while_it_is_waited_for(client: Client, stage: Scene) -> None:
    run = submit(client, stage)
    waiting = Waiting(client, run.name, until="ended").begun()
    client.delete(run.name)

    with pytest.raises(RunDeletedError, match=rf"{run.uid}.*was deleted meanwhile"):
        _ = waiting.result


def test_another_run_of_the_same_name_is_never_taken_for_it(client: Client, proxy: FaultProxy, stage: Scene) -> None:
    first = client.submit(manifest(suspend=True))
    waiting = Waiting(client, first, until="ended").begun()
    away = proxy.install(ServerAway())
    Run(scene=stage, name=first.metadata.name, uid=first.metadata.uid).delete()
    stage.wait_for(lambda: not stage.history.newest("TrainingRun", first.metadata.name), what="the end of the first")
    second = stage.create(first.metadata.name)
    away.remove()

    with pytest.raises(RunDeletedError, match=first.metadata.uid):
        _ = waiting.result
    with pytest.raises(RunReplacedError, match=second.uid):
        client.wait(first, timeout=1)
    with pytest.raises(RunReplacedError, match="another one has its name now"):
        client.delete(first)
    assert client.get(first.metadata.name).metadata.uid == second.uid


def test_a_wait_that_is_too_long_says_how_the_run_stands(
    client: Client, plane: ControlPlane, proxy: FaultProxy
) -> None:
    with fresh_namespace(plane) as deserted:
        lonely = client.submit(manifest(), namespace=deserted)
        with pytest.raises(WaitTimeoutError, match=rf"no operator has looked at its spec.*does one serve {deserted}"):
            client.wait(lonely, until="running", timeout=0.1)


def test_the_permissions_of_the_guide_are_enough_and_all_are_needed(plane: ControlPlane, proxy: FaultProxy) -> None:
    rules = yaml.safe_load(GUIDE.read_text().rpartition("```yaml\n")[2].partition("```")[0])["rules"]
    with fresh_namespace(plane) as namespace:
        metadata = {"name": "client", "namespace": namespace}
        group = "rbac.authorization.k8s.io"
        role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "client"},
            "subjects": [{"kind": "ServiceAccount", "name": "client", "namespace": namespace}],
        }
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        listed = {"apiVersion": "v1", "kind": "List", "items": [account, role, binding]}
        plane.kubectl("apply", "-f", "-", input=json.dumps(listed))
        token = plane.kubectl("-n", namespace, "create", "token", "client").stdout.strip()
        path = proxy.kubeconfig_for(token, name="client", namespace=namespace)
        mark = proxy.mark()
        _use_everything(Client(kubeconfig=path))

        asked = {(each.request.resource, each.request.subresource, each.request.verb) for each in proxy.since(mark)}
    refused = [each for each in proxy.since(mark) if each.answered == 403]
    assert not refused
    granted = {(*_resource(name), verb) for rule in rules for name in rule["resources"] for verb in rule["verbs"]}
    # Logs need a kubelet, and a pod is asked for when its log has ended; both are not here.
    assert granted - asked == {("pods", "log", "get"), ("pods", "", "get")}


def _use_everything(client: Client) -> None:
    wanted = manifest(suspend=True)
    run = client.submit(wanted)
    client.submit(wanted, apply=True)
    client.resume(client.suspend(run))
    client.rerun(run)
    assert (client.events(run), client.launches(run), len(client.list())) == ((), (), 1)
    with pytest.raises(NoLogsError):
        list(client.logs(run))
    with pytest.raises(WaitTimeoutError):
        client.wait(run, timeout=0.1)
    client.delete(run)


def _resource(name: str) -> tuple[str, str]:
    resource, _, subresource = name.partition("/")
    return resource, subresource


def test_a_run_that_was_never_there(client: Client, stage: Scene) -> None:
    with pytest.raises(RunNotFoundError, match=f"there is no TrainingRun {stage.namespace}/nobody"):
        client.wait("nobody", timeout=1)
