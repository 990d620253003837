"""The Job of a launch: what Kubernetes makes of its environment, and what a restricted namespace asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kubernetes_objects import failed_by_rule
from tests.support.runs import UID, run_of, status_of
from trainmaster.adapters.kubernetes.manifest import LaunchSettings, job_manifest, localise
from trainmaster.adapters.kubernetes.observed import (
    RULE_CONFIGURATION,
    RULE_DISRUPTED,
    RULE_RETRY,
    job_facts,
    observe_job,
)
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_RETRY
from trainmaster.api.labels import job_name
from trainmaster.api.plan import Plan
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.core.plan import build_plan
from trainmaster.core.run.placement import placement_of
from trainmaster.core.snapshot import CreateJob
from trainmaster_launcher.settings import Settings, read_settings

Json = dict[str, Any]
SETTINGS = LaunchSettings(image="trainer:1", report_url="https://operator:8443/v1/reports", ca_file="/etc/ca.pem")
NAME_MAX = 63
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def plan_of(run: TrainingRun) -> Plan:
    return build_plan(run, status_of())


def manifest_of(run: TrainingRun, *, settings: LaunchSettings = SETTINGS) -> Json:
    plan = plan_of(run)
    name = job_name(run.metadata.name, uid=run.metadata.uid, launch=plan.launch)
    return job_manifest(run, CreateJob(name=name, plan=plan), settings)


def pod_of(job: Json) -> Json:
    pod: Json = job["spec"]["template"]["spec"]
    return pod


def container_of(job: Json) -> Json:
    (container,) = pod_of(job)["containers"]
    return dict(container)


def expand(value: str, known: dict[str, str]) -> str:
    """Kubernetes' rule for values of env: `$$` is a dollar, `$(NAME)` a variable if it is known, else itself."""
    return re.sub(r"\$\$|\$\(([^)]*)\)", lambda m: "$" if m[0] == "$$" else known.get(m[1], m[0]), value)


def seen_by_launcher(job: Json) -> Settings:
    """What the launcher's own parser makes of the environment, as the kubelet hands it over."""
    environment = {"X": "expanded"}
    for variable in container_of(job)["env"]:
        environment[variable["name"]] = expand(variable["value"], environment)
    return read_settings(environment)


def test_the_launcher_reads_what_the_manifest_says() -> None:
    run = run_of(storage={"checkpoints": "pvc://runs/market"}, env=[{"name": "MODE", "value": "fast"}])
    settings = seen_by_launcher(manifest_of(run))

    assert settings.report_url == SETTINGS.report_url
    assert settings.token_file == Path("/var/run/secrets/trainmaster.io/token")
    assert settings.ca_file == Path("/etc/ca.pem")
    plan = settings.plan
    assert (plan.run_uid, plan.launch, plan.env) == (UID, 1, {"MODE": "fast"})
    assert plan.root == Path(f"/claims/runs/market/{UID}/0")
    assert plan.wire == localise(plan_of(run)).model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize("value", ["$(X)", "$$(X)", "$", "$$", "cost: $5", "$(X", "${X}", "$$$(X)$"])
def test_a_users_dollar_signs_reach_the_training_process_as_they_are(value: str) -> None:
    run = run_of(env=[{"name": "TEXT", "value": value}])

    assert seen_by_launcher(manifest_of(run)).plan.wire["env"] == {"TEXT": value}


@given(value=st.text(alphabet='$()X{} "\\\n', max_size=12))
def test_so_does_any_other_text(value: str) -> None:
    run = run_of(env=[{"name": "TEXT", "value": value}])

    assert seen_by_launcher(manifest_of(run)).plan.wire["env"] == {"TEXT": value}


def test_no_ca_file_is_no_variable() -> None:
    job = manifest_of(run_of(), settings=LaunchSettings(image="trainer:1", report_url="http://operator/v1/reports"))

    assert "TRAINMASTER_CA" not in {variable["name"] for variable in container_of(job)["env"]}
    assert seen_by_launcher(job).ca_file is None


def test_each_claim_is_mounted_once_in_order_and_is_a_folder_in_the_plan() -> None:
    run = run_of(storage={"checkpoints": "pvc://zoo/runs"}, data={"source": "pvc://data/bars/eurusd.csv"})
    job = manifest_of(run)
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod_of(job)["volumes"] if "persistentVolumeClaim" in v]

    assert claims == ["data", "zoo"]
    assert seen_by_launcher(job).plan.wire["volumes"] == {"data": "/claims/data", "zoo": "/claims/zoo"}
    by_name = {volume["name"]: volume for volume in pod_of(job)["volumes"]}
    mounted = {mount["mountPath"]: by_name[mount["name"]] for mount in container_of(job)["volumeMounts"]}
    assert mounted["/claims/data"]["persistentVolumeClaim"] == {"claimName": "data"}
    assert mounted["/claims/zoo"]["persistentVolumeClaim"] == {"claimName": "zoo"}
    assert len(mounted) == len(container_of(job)["volumeMounts"]) == len(by_name)


def test_a_claim_that_is_named_twice_is_one() -> None:
    run = run_of(storage={"checkpoints": "pvc://all/runs"}, data={"source": "pvc://all/bars.csv"})
    volumes = [volume for volume in pod_of(manifest_of(run))["volumes"] if "persistentVolumeClaim" in volume]

    assert volumes == [{"name": "claim-0", "persistentVolumeClaim": {"claimName": "all"}}]


def test_the_rules_stand_where_conditions_are_expected_to_name_them() -> None:
    rules = manifest_of(run_of())["spec"]["podFailurePolicy"]["rules"]

    assert [rule["action"] for rule in rules] == ["FailJob", "Count", "FailJob"]
    assert rules[RULE_DISRUPTED]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[RULE_RETRY]["onExitCodes"]["values"] == [EXIT_RETRY]
    assert rules[RULE_CONFIGURATION]["onExitCodes"]["values"] == [EXIT_CONFIGURATION]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {container_of(manifest_of(run_of()))["name"]}


@pytest.mark.parametrize(
    ("rule", "exit_code", "disrupted"),
    [(RULE_DISRUPTED, None, True), (RULE_RETRY, EXIT_RETRY, False), (RULE_CONFIGURATION, EXIT_CONFIGURATION, False)],
)
def test_a_job_that_a_rule_ended_says_the_same_without_its_pod(
    rule: int, exit_code: int | None, *, disrupted: bool
) -> None:
    seen = observe_job(job_facts(failed_by_rule(rule)), [])

    assert (seen.exit_code, seen.disrupted) == (exit_code, disrupted)


FOREIGN: Json = {"workload": "custom", "command": ["python3", "train.py"], "data": None, "image": "python:3.11-slim"}


def foreign_run(**spec: Any) -> TrainingRun:  # noqa: ANN401 - fields of spec
    return run_of(**(FOREIGN | spec))


@pytest.mark.parametrize("run", [run_of(storage={"checkpoints": "pvc://runs"}), foreign_run()], ids=["own", "foreign"])
def test_a_namespace_of_the_restricted_standard_takes_the_pod(run: TrainingRun) -> None:
    pod = pod_of(manifest_of(run))

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["containers"], *pod.get("initContainers", [])):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds == {"projected", "emptyDir", "persistentVolumeClaim"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_what_a_read_only_root_lacks_is_mounted() -> None:
    job = manifest_of(run_of())
    mounts = {mount["mountPath"]: mount["name"] for mount in container_of(job)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(job)["volumes"]}
    home = next(v["value"] for v in container_of(job)["env"] if v["name"] == "HOME")

    for folder in ("/tmp", home):
        assert volumes[mounts[folder]]["emptyDir"] == {}
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    larger = pod_of(manifest_of(run_of(resources={"shm": "8Gi"})))["volumes"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in larger


def test_memory_and_gpus_are_limits_and_cores_a_request() -> None:
    plain = container_of(manifest_of(run_of(resources={"cpu": 3})))["resources"]
    assert plain == {"requests": {"cpu": "3"}}

    large = container_of(manifest_of(run_of(resources={"cpu": 8, "gpus": 2, "memory": "64Gi"})))["resources"]
    assert large["limits"] == {"memory": "64Gi", "nvidia.com/gpu": "2"}
    assert large["requests"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"}

    other = container_of(manifest_of(run_of(resources={"gpus": 1, "gpuResource": "amd.com/gpu"})))["resources"]
    assert other["limits"] == {"amd.com/gpu": "1"}


def test_where_the_pod_may_run_is_handed_on() -> None:
    tolerations = [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 60}]
    spec: Json = {"nodeSelector": {"pool": "gpu"}, "tolerations": tolerations, "imagePullSecrets": [{"name": "pull"}]}
    pod = pod_of(manifest_of(run_of(**spec)))

    assert {name: pod[name] for name in spec} == spec
    assert not set(spec) & set(pod_of(manifest_of(run_of())))


def test_a_job_carries_what_its_pod_is_placed_by() -> None:
    run = run_of(nodeSelector={"pool": "gpu"})
    job = manifest_of(run)
    seen = job_facts(job | {"metadata": job["metadata"] | {"uid": "u", "resourceVersion": "1"}})

    assert observe_job(seen, []).placement == placement_of(run.spec)


# -- foreign images ---------------------------------------------------------------------------------------------------


def test_the_launcher_comes_into_a_foreign_image_by_an_init_container_of_the_trainer_image() -> None:
    pod = pod_of(manifest_of(foreign_run()))
    (bringer,), (container,) = pod["initContainers"], pod["containers"]

    assert (bringer["image"], container["image"]) == (SETTINGS.image, "python:3.11-slim")
    assert container["command"] == ["python3", "/trainmaster/launcher.pyz"]
    assert bringer["command"] == ["cp", "/opt/trainmaster/launcher.pyz", "/trainmaster/launcher.pyz"]
    shared = {"name": "launcher", "mountPath": "/trainmaster"}
    assert bringer["volumeMounts"] == [shared]
    assert shared | {"readOnly": True} in container["volumeMounts"]
    assert {"name": "launcher", "emptyDir": {}} in pod["volumes"]
    assert set(bringer["resources"]) == {"requests", "limits"}, "a quota takes no container that states nothing"
    assert "env" not in bringer


def test_a_run_of_the_trainer_image_brings_its_own_launcher() -> None:
    pod = pod_of(manifest_of(run_of()))
    (container,) = pod["containers"]

    assert (container["image"], container["command"]) == (SETTINGS.image, ["python", "-m", "trainmaster_launcher"])
    assert "initContainers" not in pod
    assert "launcher" not in {volume["name"] for volume in pod["volumes"]}


def test_the_launcher_in_a_foreign_image_is_told_the_same() -> None:
    settings = seen_by_launcher(manifest_of(foreign_run()))

    assert settings.plan.command == ("python3", "train.py")
    assert settings.token_file == Path("/var/run/secrets/trainmaster.io/token")


# -- nodes ------------------------------------------------------------------------------------------------------------


def test_a_node_to_be_avoided_is_avoided_if_there_is_another() -> None:
    run = run_of()
    effect = CreateJob(name="job", plan=plan_of(run), avoided_nodes=("bad-1", "bad-2"))
    affinity = pod_of(job_manifest(run, effect, SETTINGS))["affinity"]["nodeAffinity"]

    (preferred,) = affinity.pop("preferredDuringSchedulingIgnoredDuringExecution")
    assert affinity == {}, "nothing is required: a cluster may have no other node"
    fields = preferred["preference"]["matchFields"]
    assert [(f["key"], f["operator"], f["values"]) for f in fields] == [
        ("metadata.name", "NotIn", ["bad-1"]),
        ("metadata.name", "NotIn", ["bad-2"]),
    ]
    assert "affinity" not in pod_of(manifest_of(run))


def test_the_pod_holds_no_credentials_but_the_report_token() -> None:
    pod = pod_of(manifest_of(run_of()))

    assert pod["automountServiceAccountToken"] is False
    (token,) = next(v for v in pod["volumes"] if v["name"] == "token")["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "trainmaster-report"


def test_a_job_is_one_pod_that_is_never_replaced_and_its_runs() -> None:
    job = manifest_of(run_of(terminationGracePeriodSeconds=300))
    spec = job["spec"]

    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["podReplacementPolicy"] == "Failed"
    assert pod_of(job)["restartPolicy"] == "Never"
    assert pod_of(job)["terminationGracePeriodSeconds"] == 300
    facts = job_facts(job | {"metadata": job["metadata"] | {"uid": "u", "resourceVersion": "1"}})
    assert (facts.run_uid, facts.run_name, facts.launch, facts.suspended) == (UID, "market", 1, False)


@pytest.mark.parametrize("name", ["m", "market", "x" * NAME_MAX, "a" * 40 + "-" * 10 + "b" * 13, "dotted.name-1"])
def test_names_and_labels_are_ones_that_kubernetes_takes(name: str) -> None:
    job = manifest_of(run_of(meta={"name": name}, storage={"checkpoints": f"pvc://{'c' * NAME_MAX}"}))

    pod = pod_of(job)
    names = [part["name"] for part in (*pod["containers"], *pod["volumes"])]
    for told in names:
        assert len(told) <= NAME_MAX
        assert DNS_LABEL.fullmatch(told)
    assert len(job["metadata"]["name"]) <= NAME_MAX
    assert all(len(value) <= NAME_MAX for value in job["metadata"]["labels"].values())
    assert job["spec"]["template"]["metadata"]["annotations"] == {"trainmaster.io/run-name": name}
