"""NetworkPolicies as objects: whom they select, whom they let in and out. No network of our tests enforces them."""

from __future__ import annotations

from pathlib import Path

from tests.support.chart import NAMESPACE, Json, Rendered, render
from trainmaster.api.labels import LABEL_RUN_UID

VALUES = Path(__file__).parent / "values"
TRAINERS = {"matchExpressions": [{"key": LABEL_RUN_UID, "operator": "Exists"}]}
DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def policy(rendered: Rendered, component: str = "operator") -> Json:
    (found,) = [
        each for each in rendered.of("NetworkPolicy")
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]  # fmt: skip
    return found


def test_there_is_none_unless_asked_for() -> None:
    assert render().of("NetworkPolicy") == []


def test_reports_come_from_training_pods_only() -> None:
    anywhere = policy(render("--set", "networkPolicy.enabled=true"))["spec"]["ingress"][0]
    assert anywhere == {
        "from": [{"podSelector": TRAINERS, "namespaceSelector": {}}],
        "ports": [{"port": "reports", "protocol": "TCP"}],
    }
    (peer,) = policy(render(values=VALUES / "everything.yaml"))["spec"]["ingress"][0]["from"]
    assert peer["podSelector"] == TRAINERS
    assert peer["namespaceSelector"]["matchExpressions"] == [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["team-a"]}
    ]


def test_metrics_are_read_by_whom_values_name() -> None:
    rule = policy(render(values=VALUES / "network-policies.yaml"))["spec"]["ingress"][1]
    assert rule == {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "ports": [{"port": "metrics", "protocol": "TCP"}],
    }


def test_the_operator_reaches_names_the_api_server_and_what_values_name() -> None:
    egress = policy(render(values=VALUES / "network-policies.yaml"))["spec"]["egress"]
    assert egress == [
        DNS,
        {"ports": [{"port": 6443, "protocol": "TCP"}]},
        {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 443, "protocol": "TCP"}]},
    ]


def test_training_pods_reach_the_operator_and_what_values_name() -> None:
    found = policy(render(values=VALUES / "network-policies.yaml"), "trainers")
    assert found["metadata"]["namespace"] == "team-a"
    assert found["spec"]["podSelector"] == TRAINERS
    assert found["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in found["spec"], "nothing may reach them"
    names, operator, own = found["spec"]["egress"]
    assert names == DNS
    assert operator["ports"] == [{"port": 8443, "protocol": "TCP"}]
    (peer,) = operator["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
    assert own == {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}


def test_each_served_namespace_has_its_own() -> None:
    found = render(values=VALUES / "namespaces.yaml").of("NetworkPolicy")
    trainers = [each for each in found if each["metadata"]["name"] == "trainmaster-trainers"]
    assert {each["metadata"]["namespace"] for each in trainers} == {"team-a", "team-b"}
