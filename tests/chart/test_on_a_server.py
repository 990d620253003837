"""The chart on a real API server: what it grants is enough, its policies hold, its test tests, nothing is left."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chart import Json, helm_program
from tests.support.chart_release import Release, helm_environment, released
from tests.support.cluster_runs import CLAIM, RUNS, SPEC, UserRun, run_manifest
from tests.support.control_plane import ControlPlane
from tests.support.control_plane.plane import Answer
from tests.support.fault_proxy.proxy import fault_proxy
from tests.support.fault_proxy.requests import Request
from tests.support.operator_jobs import CONTAINER, FROM_KEY, FROM_SECRET, created, job, real_job, token, volume
from tests.support.operator_process import PATIENCE_SECONDS, Operator, running_operator, wait_until
from tests.support.pod_reporter import pod_token
from trainmaster.adapters.kubernetes.permissions import PERMISSIONS
from trainmaster.api.conditions import Outcome
from trainmaster.api.objects import Key

DENIED = "denied request"
OK, FORBIDDEN = 200, 403
SELDOM = {
    ("", "events", "get"): "the count of an Event that is told again",
    ("", "events", "patch"): "an Event that is told again",
    ("", "pods", "get"): "a pod that reports before its watch has told of it",
    ("trainmaster.io", "runrecords", "get"): "a record that an operator before this one has written",
    ("coordination.k8s.io", "leases", "update"): "the second renewal: a short life needs none",
}
"""Verbs that the life of one healthy run does not use, and what does."""
ANYBODY = {("authorization.k8s.io", "selfsubjectaccessreviews", "create")}
"""Asked of the API server by everybody, with the rights that every account has."""
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


@pytest.fixture(scope="module")
def release(plane: ControlPlane) -> Iterator[Release]:
    with released(plane, "replicas=2") as release:
        yield release


@pytest.fixture(scope="module")
def operator(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A real operator with the chart's service account; kwok's pods of the Deployment are none."""
    where = ("--namespace", release.enabled, "--namespace", release.other, *release.lease)
    folder = tmp_path_factory.mktemp("operator")
    with running_operator(release.kubeconfig(), *where, folder=folder) as operator:
        operator.wait_until_leading()
        yield operator


def test_its_pods_are_taken_where_only_restricted_ones_are(release: Release) -> None:
    pods = release.plane.request("GET", f"/api/v1/namespaces/{release.name}/pods").body["items"]
    ours = [pod for pod in pods if pod["metadata"]["labels"].get("app.kubernetes.io/component") == "operator"]
    assert [pod["status"]["phase"] for pod in ours] == ["Running", "Running"]


def test_selftest_finds_every_permission_there(release: Release) -> None:
    served = [word for each in (release.enabled, release.other) for word in ("--namespace", each)]
    own = [*release.lease, "--tls-secret", f"{release.name}-report-tls"]
    said = subprocess.run(
        [sys.executable, "-m", "trainmaster.cli.main", "selftest", "--cluster", "-o", "json", *served, *own],
        env=os.environ | {"KUBECONFIG": str(release.kubeconfig())},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [each for each in json.loads(said.stdout) if each["name"].startswith("permission ")]
    assert len(found) == len(PERMISSIONS)
    assert [each for each in found if not each["passed"]] == []


@pytest.mark.parametrize(
    ("what", "where"),
    [
        (("get", "secrets"), "enabled"),
        (("list", "secrets"), "name"),
        (("create", "secrets"), "name"),
        (("get", "secret/another"), "name"),
        (("update", "lease/another"), "name"),
        (("create", "pods"), "enabled"),
        (("create", "pods/exec"), "enabled"),
        (("update", "jobs"), "enabled"),
        (("update", "trainingruns"), "enabled"),
        (("patch", "trainingruns"), "enabled"),
        (("delete", "trainingruns"), "enabled"),
        (("create", "rolebindings"), "enabled"),
        (("impersonate", "serviceaccounts"), "enabled"),
        (("create", "serviceaccounts/token"), "name"),
    ],
)
def test_what_the_operator_must_never_do_is_refused(*, release: Release, what: tuple[str, str], where: str) -> None:
    namespace = getattr(release, where)
    said = release.apply_as_operator("auth", "can-i", *what, "-n", namespace)
    assert (said.returncode, said.stdout.strip()) == (1, "no"), said


def test_the_operator_lives_a_run_with_what_the_chart_grants(release: Release, tmp_path: Path) -> None:
    release.plane.add_claim(release.enabled, CLAIM)
    where = ("--namespace", release.enabled, *release.lease)
    run = UserRun(plane=release.plane, namespace=release.enabled, name="life")
    with fault_proxy(release.plane) as proxy:
        kubeconfig = proxy.kubeconfig_for(release.token(release.name), name="chart-operator")
        flags = (*where, "--tls-secret", f"{release.name}-report-tls")
        with running_operator(kubeconfig, *flags, folder=tmp_path) as operator:
            operator.wait_until_leading()
            run.create()
            run.until_running()
            assert report(run, operator, authority=certificate(release)) == OK
            run.edit(suspend=True)
            run.until_condition("Suspended", "True")
            run.edit(suspend=False)
            run.until_running(2)
            run.succeed()
            assert operator.stop() == 0
        answered = proxy.exchanges
    assert [str(exchange) for exchange in answered if exchange.answered == FORBIDDEN] == []
    used = {verb_of(exchange.request) for exchange in answered if exchange.committed and exchange.request.resource}
    granted = {(each.group, each.resource, verb) for each in PERMISSIONS for verb in each.verbs}
    assert used - ANYBODY <= granted, "discovery apart, which everybody may ask for"
    assert granted - used <= SELDOM.keys(), "granted and never used: take it out of permissions.py, or say when it is"


def verb_of(request: Request) -> tuple[str, str, str]:
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    return request.group, resource, request.verb


def certificate(release: Release) -> str:
    """The authority that the operator has put into its Secret."""
    data = release.plane.request("GET", release.secret).body["data"]
    return base64.b64decode(data["ca.crt"]).decode()


def report(run: UserRun, operator: Operator, *, authority: str) -> int:
    """Send one report as the launcher of the newest launch; the answer's status."""
    (pod,) = run.running_pods()
    body = {"runUid": run.get()["metadata"]["uid"], "launch": 1, "generation": 1, "phase": "training", "step": 1}
    headers = {"Authorization": f"Bearer {pod_token(run.plane, pod)}", "Content-Type": "application/json"}
    sent = urllib.request.Request(
        operator.report_url, data=json.dumps(body | {"entries": []}).encode(), headers=headers
    )
    with urllib.request.urlopen(sent, context=ssl.create_default_context(cadata=authority)) as answer:
        status: int = answer.status
    return status


# -- admission policies ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def overpowered(release: Release) -> Release:
    """The operator's account with rights that it must not have: only the policies are left to stop it."""
    rules = [{"apiGroups": ["trainmaster.io"], "resources": ["trainingruns"], "verbs": list(VERBS)}]
    subject = {"kind": "ServiceAccount", "name": release.name, "namespace": release.name}
    meta = {"name": "too-much", "namespace": release.enabled}
    group = "rbac.authorization.k8s.io"
    head = {"apiVersion": f"{group}/v1", "metadata": meta}
    release.apply(head | {"kind": "Role", "rules": rules})
    role = {"apiGroup": group, "kind": "Role", "name": "too-much"}
    release.apply(head | {"kind": "RoleBinding", "roleRef": role, "subjects": [subject]})
    wait_until(
        lambda: (
            release.apply_as_operator("auth", "can-i", "patch", "trainingruns", "-n", release.enabled).returncode == 0
        ),
        what="the rights",
    )
    return release


@pytest.fixture
def guarded(overpowered: Release) -> Key:
    """A run that no operator looks at, with the policies at work."""
    name = f"guarded-{time.monotonic_ns()}"
    overpowered.apply(
        run_manifest(name, SPEC | {"suspend": True}) | {"metadata": {"name": name, "namespace": overpowered.enabled}}
    )
    return Key(namespace=overpowered.enabled, name=name)


def patched(release: Release, run: Key, patch: Json, *, subresource: str = "") -> Answer:
    """The server's answer to a patch by the operator's account."""
    return release.request_as_operator("PATCH", f"{RUNS.format(run.namespace)}/{run.name}{subresource}", patch)


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ({"spec": {"suspend": False}}, "never changes the spec"),
        ({"spec": {"rerun": "again"}}, "never changes the spec"),
        ({"metadata": {"labels": {"a": "b"}}}, "never changes the metadata"),
        ({"metadata": {"annotations": {"a": "b"}}}, "never changes the metadata"),
        ({"metadata": {"finalizers": ["trainmaster.io/stay"]}}, "never changes the metadata"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_the_operator_cannot_change_a_run_even_with_the_rights_to(
    *, overpowered: Release, guarded: Key, patch: Json, told: str
) -> None:
    wait_until(lambda: patched(overpowered, guarded, patch).status != OK, what="the policy")
    answer = patched(overpowered, guarded, patch)
    assert DENIED in answer.body["message"]
    assert told in answer.body["message"]


def test_the_operator_can_say_what_becomes_of_a_run(overpowered: Release, guarded: Key) -> None:
    answer = patched(overpowered, guarded, {"status": {"phase": "Pending"}}, subresource="/status")
    assert (answer.status, answer.body["status"]["phase"]) == (OK, "Pending")


def test_others_may_change_runs(overpowered: Release, guarded: Key) -> None:
    path = f"{RUNS.format(guarded.namespace)}/{guarded.name}"
    answer = overpowered.plane.request("PATCH", path, {"metadata": {"labels": {"a": "b"}}, "spec": {"suspend": False}})
    assert answer.status == 200, answer


def test_jobs_are_made_in_enabled_namespaces_only(release: Release) -> None:
    wait_until(lambda: created(release, job(release.other)).returncode != 0, what="the policy")
    said = created(release, job(release.other))
    assert "Trainmaster trains in namespaces with the label trainmaster.io/enabled=true only" in said.stderr
    said = created(release, job(release.enabled))
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        ({"automountServiceAccountToken": True}, "must not get a token"),
        ({"automountServiceAccountToken": None}, "must not get a token"),
        ({"serviceAccountName": "powerful"}, "is not one of admin.allowedServiceAccounts"),
        ({"priorityClassName": "urgent"}, "is not one of admin.allowedPriorityClasses"),
        (volume(secret={"secretName": "s"}), "has no volumes but"),
        (volume(projected={"sources": [token("vault")]}), "no projection but a token"),
        (
            volume(projected={"sources": [token("trainmaster-report"), {"secret": {"name": "s"}}]}),
            "no projection but a token",
        ),
        ({"containers": [CONTAINER | {"envFrom": [FROM_SECRET]}]}, "no environment from elsewhere"),
        (
            {"containers": [CONTAINER | {"env": [{"name": "E", "valueFrom": FROM_KEY}]}]},
            "no environment from elsewhere",
        ),
        ({"initContainers": [CONTAINER | {"name": "i", "envFrom": [FROM_SECRET]}]}, "no environment from elsewhere"),
    ],
    ids=str,
)
def test_jobs_of_the_operator_get_neither_token_nor_another_account(*, release: Release, pod: Json, told: str) -> None:
    wait_until(lambda: created(release, job(release.enabled, **pod)).returncode != 0, what="the policy")
    assert told in created(release, job(release.enabled, **pod)).stderr


@pytest.mark.parametrize("image", ["", "python:3.11-slim"], ids=["own image", "foreign image"])
def test_the_policy_takes_the_jobs_that_the_operator_makes(release: Release, image: str) -> None:
    refused = job(release.enabled, **volume(secret={"secretName": "s"}))
    wait_until(lambda: created(release, refused).returncode != 0, what="the policy")
    said = created(release, real_job(release.enabled, image=image))
    assert said.returncode == 0, said.stderr


# -- upgrades, users, helm test -------------------------------------------------------------------------------------


def test_an_upgrade_takes_nothing_of_the_certificate_back(release: Release) -> None:
    filled = release.plane.request("PATCH", release.secret, {"data": {"probe": "b3Vycw=="}})
    assert filled.body["data"]["probe"] == "b3Vycw=="
    release.upgrade("replicas=2", "operator.logLevel=debug")
    kept = release.plane.request("GET", release.secret).body
    assert kept["data"] == filled.body["data"]
    assert kept["metadata"]["uid"] == filled.body["metadata"]["uid"]


@pytest.mark.parametrize(
    ("role", "verb", "allowed"), [("view", "get", "yes"), ("view", "create", "no"), ("edit", "create", "yes")]
)
def test_kubernetes_own_roles_know_runs(*, release: Release, role: str, verb: str, allowed: str) -> None:
    user = f"person-{role}-{verb}"
    release.plane.kubectl(
        "-n", release.enabled, "create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}"
    )

    def answer() -> str:
        asked = ("auth", "can-i", verb, "trainingruns", "-n", release.enabled, f"--as={user}")
        return release.plane.kubectl(*asked, check=False).stdout.strip()

    wait_until(lambda: answer() == allowed, what=f"{role} may {verb}: {allowed}")


@pytest.fixture
def helm_test(release: Release) -> Iterator[subprocess.Popen[str]]:
    """`helm test`, under way; ended with the test at the latest."""
    command = [str(helm_program()), "test", release.name, "--namespace", release.name, "--timeout", "4m"]
    environment = os.environ | helm_environment(release.plane)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as test:
        try:
            yield test
        finally:
            test.kill()


def test_helm_test_trains_and_leaves_nothing(
    release: Release, operator: Operator, helm_test: subprocess.Popen[str], tmp_path: Path
) -> None:
    plane, pod_name = release.plane, f"{release.name}-test"
    path = f"/api/v1/namespaces/{release.name}/pods/{pod_name}"
    wait_until(lambda: runs(plane.request("GET", path)), what="the pod")
    with start_container(release, plane.request("GET", path).body, folder=tmp_path) as waiting:
        try:
            run = the_test_run(release, waiting)
            bind_claim(release, run.name)
            run.end(0, outcome=Outcome.COMPLETED)
            told = waiting.communicate(timeout=PATIENCE_SECONDS)[0]
        finally:
            waiting.kill()
    plane.finish_pod(release.name, pod_name, exit_code=waiting.returncode)
    said = helm_test.communicate(timeout=PATIENCE_SECONDS)[0]
    assert waiting.returncode == 0, told
    assert "Succeeded=True" in told
    assert helm_test.returncode == 0, said
    assert "Phase:          Succeeded" in said
    assert run.get() == {}


def runs(answer: Answer) -> bool:
    return answer.status == OK and answer.body["status"].get("phase") == "Running"


def start_container(release: Release, pod: Json, *, folder: Path) -> subprocess.Popen[str]:
    """What a kubelet would start of the pod of `helm test`."""
    (container,) = pod["spec"]["containers"]
    (folder / "token").write_text(release.token(pod["spec"]["serviceAccountName"]))
    (folder / "ca.crt").write_bytes(release.plane.ca.read_bytes())
    host, _, port = release.plane.url.removeprefix("https://").partition(":")
    given = {"ACCOUNT_FOLDER": str(folder), "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    expanded = {each["name"]: each["value"].replace("$$", "$") for each in container["env"]}
    python, *arguments = container["command"]
    assert python == "python"
    return subprocess.Popen(
        [sys.executable, *arguments], env=given | expanded, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def the_test_run(release: Release, waiting: subprocess.Popen[str]) -> UserRun:
    """The run that `helm test` makes."""
    path = f"{RUNS.format(release.enabled)}?labelSelector=app.kubernetes.io/component=helm-test"

    def there() -> bool:
        assert waiting.poll() is None, waiting.communicate()[0]
        return bool(release.plane.request("GET", path).body["items"])

    wait_until(there, what="the run")
    (found,) = release.plane.request("GET", path).body["items"]
    return UserRun(plane=release.plane, namespace=release.enabled, name=found["metadata"]["name"])


def bind_claim(release: Release, name: str) -> None:
    """What a provisioner would do about the run's claim."""
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{release.name}-test"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "hostPath": {"path": "/nonexistent"},
            "claimRef": {"namespace": release.enabled, "name": name},
        },
    }
    assert release.plane.request("POST", "/api/v1/persistentvolumes", volume).status == 201
