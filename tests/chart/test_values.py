"""What comes of the values of each file in values/, and which values are refused, in words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
import yaml
from typer.main import get_command

from tests.support.chart import (
    ASSUMED,
    CHART,
    CLUSTERED,
    NAMESPACE,
    Rendered,
    helm,
    is_hook,
    refusal,
    render,
    unrestricted,
)
from trainmaster.cli.main import app

FILES = sorted((Path(__file__).parent / "values").glob("*.yaml"))
LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
OPERATOR: click.Command = get_command(app).commands["operator"]  # type: ignore[attr-defined]  # click's group


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def values(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def rendered(values: Path) -> Rendered:
    return render(values=values)


def test_there_are_enough_files() -> None:
    assert len(FILES) >= 12


def test_lint_has_nothing_to_say(values: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(values), "--namespace", NAMESPACE, ASSUMED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


def test_every_object_says_what_it_is_and_where(rendered: Rendered) -> None:
    seen = set()
    for each in rendered.objects:
        meta = each["metadata"]
        assert each["apiVersion"]
        assert meta["labels"]["app.kubernetes.io/instance"] == "trainmaster"
        assert meta["labels"]["app.kubernetes.io/component"]
        assert all(LABEL.fullmatch(value) and len(value) <= 63 for value in meta["labels"].values())
        assert ("namespace" in meta) == (each["kind"] not in CLUSTERED), each
        key = (each["kind"], meta.get("namespace"), meta["name"])
        assert key not in seen, f"twice: {key}"
        seen.add(key)


def test_every_pod_is_restricted(rendered: Rendered) -> None:
    assert [list(unrestricted(pod)) for pod in rendered.pods] == [[] for _ in rendered.pods]


def test_selectors_find_the_operators_pods(rendered: Rendered) -> None:
    deployment = rendered.one("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = [deployment["spec"]["selector"]["matchLabels"], rendered.one("Service")["spec"]["selector"]]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in rendered.of("PodDisruptionBudget")]
    for policy in rendered.of("NetworkPolicy"):
        if policy["metadata"]["labels"]["app.kubernetes.io/component"] == "operator":
            selectors.append(policy["spec"]["podSelector"]["matchLabels"])
        else:
            (to,) = [peer for rule in policy["spec"]["egress"] for peer in rule.get("to", []) if "podSelector" in peer]
            selectors.append(to["podSelector"]["matchLabels"])
            assert to["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
    assert all(selector.items() <= labels for selector in selectors)
    service = rendered.one("Service")["metadata"]["labels"].items()
    monitors = [each["spec"]["selector"]["matchLabels"] for each in rendered.of("ServiceMonitor")]
    assert all(selector.items() <= service for selector in monitors)


def test_ports_that_are_named_exist(rendered: Rendered) -> None:
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"reports": 8443, "metrics": 8080}
    probes = {container[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    service = {port["name"]: port["targetPort"] for port in rendered.one("Service")["spec"]["ports"]}
    monitored = {endpoint["port"] for each in rendered.of("ServiceMonitor") for endpoint in each["spec"]["endpoints"]}
    opened = {
        port["port"]
        for policy in rendered.of("NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        for port in rule["ports"]
    }
    assert probes | set(service.values()) | opened <= set(ports)
    assert monitored <= set(service)


def test_the_operator_understands_its_arguments(rendered: Rendered) -> None:
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    name, *arguments = container["args"]
    understood = OPERATOR.make_context(name, arguments).params
    assert understood["leader_elect"], "whatever the number of replicas"
    assert not understood["insecure_reports"]
    name = rendered.one("Deployment")["metadata"]["name"]
    assert (understood["lease_namespace"], understood["lease_name"]) == (NAMESPACE, name)
    report = rendered.flags["--report-url"][0]
    assert report == f"https://{rendered.one('Service')['metadata']['name']}.{NAMESPACE}.svc:8443/v1/reports"


def test_what_is_mounted_is_there(rendered: Rendered) -> None:
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    mounted = {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
    assert mounted <= {each["metadata"]["name"] for each in rendered.of("ConfigMap")}
    assert pod["serviceAccountName"] == rendered.one("ServiceAccount")["metadata"]["name"]


def test_of_secrets_there_is_at_most_one_and_nothing_in_it(rendered: Rendered) -> None:
    made = rendered.of("Secret")
    assert all("data" not in each and "stringData" not in each for each in made)
    assert [each["metadata"]["name"] for each in made] == rendered.flags.get("--tls-secret", [])


def test_only_helm_test_is_a_hook(rendered: Rendered) -> None:
    hooks = [each for each in rendered.objects if is_hook(each)]
    assert {each["metadata"]["annotations"]["helm.sh/hook"] for each in hooks} <= {"test"}
    assert {each["kind"] for each in hooks} in ({"ServiceAccount", "Role", "RoleBinding", "Pod"}, set())


def test_rendering_twice_gives_the_same(values: Path, rendered: Rendered) -> None:
    assert render(values=values).text == rendered.text


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("image.digst=x", ("image", "digst")),
        ("imge.tag=x", ("imge",)),
        ("image.repository=https://x", ("image", "repository")),
        ("image.repository=Upper/Case", ("image", "repository")),
        ("image.repository=team/operator:1.0", ("image", "repository")),
        ("trainerImage.repository=https://x", ("trainerImage", "repository")),
        ("trainerImage.repository=Upper/Case", ("trainerImage", "repository")),
        ("image.digest=sha256:short", ("image", "digest", "sha256")),
        ("image.pullPolicy=Sometimes", ("pullPolicy", "IfNotPresent")),
        ("replicas=many", ("replicas", "integer")),
        ("replicas=-1", ("replicas", "0")),
        ("namespaces={Team A}", ("namespaces",)),
        ("namespaces={a,a}", ("namespaces",)),
        ("tls.mode=Plain", ("tls", "mode", "CertManager")),
        ("tls.insecure=true", ("tls", "insecure")),
        ("operator.workers=0", ("workers", "1")),
        ("operator.logLevel=loud", ("logLevel", "warning")),
        ("operator.extraEnv[0].name=POD_NAME", ("extraEnv",)),
        ("admin.notificationChannels.ops.url=x", ("admin", "notificationChannels")),
        ("admin.trackingBackends.a.uri=file:///etc", ("trackingBackends", "uri")),
        ("admin.trackingBackends.a.uri=https://user:secret@host", ("trackingBackends", "uri")),
        ("crds.enabled=maybe", ("crds", "enabled", "boolean")),
        ("monitoring.prometheusRule.exclude={Else}", ("exclude",)),
        ("test.timeoutSeconds=5", ("timeoutSeconds", "60")),
        ("test.gpus=1", ("test", "gpus")),
    ],
)
def test_wrong_values_are_refused_by_name(said: str, parts: tuple[str, ...]) -> None:
    told = refusal("--set", said)
    assert "values don't meet the specifications of the schema" in told
    assert all(part in told for part in parts), told


@pytest.mark.parametrize(
    "name", ["operator", "team/my__image", "localhost/trainmaster/operator", "registry.example:5000/a/b.c-d"]
)
def test_images_are_named_as_registries_name_them(name: str) -> None:
    assert f"image: {name}:" in render("--set", f"image.repository={name}").text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["tls.mode=Secret"], "say in tls.secretName which one"),
        (["tls.mode=CertManager"], "say in tls.issuerRef.name which issuer signs"),
        (["networkPolicy.trainers.enabled=true"], "say in networkPolicy.trainers.namespaces where training pods are"),
        (["namespaces={a}", "test.namespace=b"], 'test.namespace is "b", which is not served'),
    ],
)
def test_values_that_lack_another_one_are_refused_with_the_way_out(said: list[str], told: str) -> None:
    assert told in refusal(*(word for each in said for word in ("--set", each)))


def test_a_cluster_that_is_too_old_is_told_so() -> None:
    assert "chart requires kubeVersion: >=1.31.0-0" in refusal("--kube-version=1.30.9")


def test_common_labels_are_on_everything() -> None:
    rendered = render(values=Path(__file__).parent / "values" / "labels.yaml")
    assert {each["metadata"]["labels"].get("cost-center") for each in rendered.objects} == {"17"}
    template = rendered.one("Deployment")["spec"]["template"]["metadata"]
    assert template["labels"].items() >= {"cost-center": "17", "tier": "control"}.items()
    assert template["annotations"] == {"example.org/note": "yes"}


def test_every_value_has_a_place_in_the_schema_and_the_other_way_round() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(part: dict[str, object], said: object, path: str) -> None:
        properties = part.get("properties")
        if part.get("additionalProperties") is not False or not isinstance(properties, dict):
            return
        assert isinstance(said, dict), path
        optional = {"global", "claims"}  # of other charts, and of a newer Kubernetes
        assert set(said) == set(properties) - optional, path
        for name, value in said.items():
            compare(properties[name], value, f"{path}.{name}")

    compare(schema, values, "values")
    assert schema["additionalProperties"] is False
