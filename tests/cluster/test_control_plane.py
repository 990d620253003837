"""The control plane that the other tests here stand on: Jobs run and end as tests say, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import ControlPlane, start_control_plane
from tests.support.control_plane.build import KUBERNETES_VERSION
from tests.support.control_plane.plane import PATIENCE
from tests.support.control_plane.start import REPOSITORY, remove_dead
from tests.support.launcher import wait_until

STARTER = """
import sys, time
from tests.support.control_plane import start_control_plane
with start_control_plane() as plane:
    print(plane.folder, plane.url, flush=True)
    time.sleep(600)
"""


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines, by PID, of the processes that know a plane's folder."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(str(folder) in word for word in words):
            found[int(process.name)] = " ".join(words)
    return found


def job_of(namespace: str) -> dict[str, Any]:
    """A Job in the shape of a launch's: one pod, never replaced here, ends explained by rules."""

    def exit_code(code: int) -> dict[str, Any]:
        return {"action": "FailJob", "onExitCodes": {"containerName": "trainer", "operator": "In", "values": [code]}}

    disrupted = {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    container = {"name": "trainer", "image": "trainer:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    claim = {"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "launch-1", "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [disrupted, exit_code(75), exit_code(78)]},
            "template": {"spec": {"restartPolicy": "Never", "containers": [container], "volumes": [claim]}},
        },
    }


class RunningJob:
    """A Job whose pod runs on a fake node."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        plane.add_claim(namespace, "runs")
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        assert plane.request("POST", self.jobs, job_of(namespace)).status == 201

    def pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.plane.request("GET", f"/api/v1/namespaces/{self.namespace}/pods").body[
            "items"
        ]
        return items

    def running_pod(self) -> str:
        wait_until(
            lambda: [pod["status"]["phase"] for pod in self.pods()] == ["Running"],
            what="the pod runs",
            timeout=PATIENCE,
        )
        return str(self.pods()[0]["metadata"]["name"])

    def end(self) -> dict[str, Any]:
        """The condition that says how the Job ended."""

        def ends() -> list[dict[str, Any]]:
            status = self.plane.request("GET", f"{self.jobs}/launch-1").body["status"]
            return [c for c in status.get("conditions", []) if c["type"] in {"Complete", "Failed"}]

        wait_until(lambda: bool(ends()), what="the Job ends", timeout=PATIENCE)
        return ends()[0]


@pytest.fixture
def job(plane: ControlPlane, namespace: str) -> RunningJob:
    return RunningJob(plane, namespace)


def test_server_has_its_version_and_our_kinds(plane: ControlPlane) -> None:
    assert KUBERNETES_VERSION in plane.kubectl("version").stdout
    kinds = plane.kubectl("api-resources", "--api-group=trainmaster.io", "-o", "name").stdout.split()
    assert sorted(kinds) == ["runrecords.trainmaster.io", "trainingruns.trainmaster.io"]


def test_pod_waits_for_gpus_that_no_node_has(plane: ControlPlane, namespace: str) -> None:
    plane.add_claim(namespace, "runs")
    body = job_of(namespace)
    body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "1000000"
    assert plane.request("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body).status == 201
    unschedulable = "--for=condition=PodScheduled=False"
    plane.kubectl("wait", "--for=create", "pod", "-l", "job-name=launch-1", "-n", namespace, "--timeout=60s")
    plane.kubectl("wait", unschedulable, "pod", "-l", "job-name=launch-1", "-n", namespace, "--timeout=60s")
    pods = plane.request("GET", f"/api/v1/namespaces/{namespace}/pods").body["items"]
    assert "Insufficient nvidia.com/gpu" in pods[0]["status"]["conditions"][0]["message"]


def test_kubectl_tells_why_it_failed(plane: ControlPlane) -> None:
    with pytest.raises(AssertionError, match="no-such-thing"):
        plane.kubectl("get", "namespace", "no-such-thing")
    assert plane.kubectl("get", "namespace", "no-such-thing", check=False).returncode == 1


def test_another_token_is_another_user(plane: ControlPlane, namespace: str) -> None:
    token = plane.kubectl("create", "token", "default", "-n", namespace).stdout.strip()
    config = plane.kubeconfig_for(token, name=namespace)
    who = plane.kubectl(f"--kubeconfig={config}", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}").stdout
    assert who == f"system:serviceaccount:{namespace}:default"


def test_job_completes_when_its_pod_is_told_so(job: RunningJob) -> None:
    pod = job.running_pod()
    job.plane.finish_pod(job.namespace, pod, message='{"outcome": "done"}')
    assert job.end()["type"] == "Complete"
    terminated = job.pods()[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["message"]) == (0, '{"outcome": "done"}')


@pytest.mark.parametrize(("exit_code", "rule"), [(75, 1), (78, 2)])
def test_job_fails_by_the_rule_of_its_exit_code(job: RunningJob, exit_code: int, rule: int) -> None:
    job.plane.finish_pod(job.namespace, job.running_pod(), exit_code=exit_code)
    end = job.end()
    assert (end["type"], end["reason"]) == ("Failed", "PodFailurePolicy")
    assert f"FailJob rule at index {rule}" in end["message"]


def test_job_fails_when_no_rule_is_about_its_exit_code(job: RunningJob) -> None:
    job.plane.finish_pod(job.namespace, job.running_pod(), exit_code=1)
    assert job.end()["reason"] == "BackoffLimitExceeded"


def test_eviction_is_a_disruption(job: RunningJob) -> None:
    pod = job.running_pod()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": job.namespace}}
    path = f"/api/v1/namespaces/{job.namespace}/pods/{pod}/eviction"
    assert job.plane.request("POST", path, eviction).status == 201
    assert "FailJob rule at index 0" in job.end()["message"]


def test_deleted_pod_ends_as_a_launcher_does_and_goes(job: RunningJob) -> None:
    job.plane.kubectl("delete", "pod", job.running_pod(), "-n", job.namespace)
    assert "FailJob rule at index 1" in job.end()["message"]
    assert job.pods() == []


def test_held_pod_stays_in_termination(job: RunningJob) -> None:
    pod = job.running_pod()
    job.plane.kubectl("annotate", "pod", pod, "-n", job.namespace, "test.trainmaster.io/hold=yes")
    job.plane.kubectl("delete", "job", "launch-1", "-n", job.namespace, "--cascade=foreground", "--wait=false")
    wait_until(
        lambda: "deletionTimestamp" in job.pods()[0]["metadata"], what="the pod is being deleted", timeout=PATIENCE
    )
    assert job.pods()[0]["status"]["phase"] == "Running"
    job.plane.kubectl("annotate", "pod", pod, "-n", job.namespace, "test.trainmaster.io/hold-")
    wait_until(lambda: not job.pods(), what="the pod is gone", timeout=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_second_plane_ends_with_whoever_started_it(plane: ControlPlane, number: signal.Signals) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert starter.stdout is not None
        folder, url = starter.stdout.readline().split()
        assert url != plane.url
        assert len(processes_of(Path(folder))) == 6, "five programs and their supervisor"
    finally:
        os.killpg(starter.pid, number)
        starter.communicate()
    wait_until(lambda: not processes_of(Path(folder)), what="its processes are gone", timeout=PATIENCE)
    assert not Path(folder).exists()
    assert plane.request("GET", "/readyz").status == 200, "the other one goes on"


def test_programs_die_with_their_supervisor_and_the_next_start_removes_its_folder() -> None:
    with start_control_plane() as own:
        supervisor = [pid for pid, command in processes_of(own.folder).items() if "supervisor" in command]
        os.kill(supervisor[0], signal.SIGKILL)
        wait_until(lambda: not processes_of(own.folder), what="its processes are gone", timeout=PATIENCE)
        remove_dead()
        assert own.folder.exists(), "somebody still uses it"
    remove_dead()
    assert not own.folder.exists()
