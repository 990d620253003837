"""What the chart grants is what adapters/kubernetes/permissions.py asks for: not one verb more, nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chart import NAMESPACE, Json, Rendered, render
from trainmaster.adapters.kubernetes.permissions import LEASE, PERMISSIONS, TLS_SECRET, Scope, permissions

VALUES = Path(__file__).parent / "values"
OPERATOR = {"kind": "ServiceAccount", "name": "trainmaster", "namespace": NAMESPACE}
Grant = tuple[str, str, str, str, str]
"""Namespace (empty: the whole cluster), group, resource, verb, object (empty: any)."""


def grants(rendered: Rendered, subject: Json = OPERATOR) -> set[Grant]:
    """All that is bound to a subject."""
    found: set[Grant] = set()
    roles = {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each["rules"]
             for kind in ("Role", "ClusterRole") for each in rendered.of(kind)}  # fmt: skip
    for binding in [*rendered.of("RoleBinding"), *rendered.of("ClusterRoleBinding")]:
        if subject not in binding["subjects"]:
            continue
        namespace, reference = binding["metadata"].get("namespace", ""), binding["roleRef"]
        home = namespace if reference["kind"] == "Role" else ""
        for rule in roles[reference["kind"], home, reference["name"]]:
            found |= expanded(rule, namespace=namespace)
    return found


def expanded(rule: Json, *, namespace: str) -> set[Grant]:
    return {
        (namespace, group, resource, verb, name)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def asked_for(*, served: list[str], tls_secret: str = TLS_SECRET) -> set[Grant]:
    places = {Scope.SERVED: served, Scope.CLUSTER: [""], Scope.OWN: [NAMESPACE]}
    return {
        grant
        for each in permissions(tls_secret=tls_secret)
        for namespace in places[each.scope]
        for grant in expanded(each.rule(), namespace=namespace)
    }


def test_in_the_whole_cluster_the_operator_gets_what_it_asks_for() -> None:
    assert grants(render()) == asked_for(served=[""])


def test_in_listed_namespaces_it_gets_the_same_there_and_nothing_elsewhere() -> None:
    rendered = render(values=VALUES / "namespaces.yaml")
    assert grants(rendered) == asked_for(served=["team-a", "team-b"])
    assert rendered.flags["--namespace"] == ["team-a", "team-b"]
    everywhere = {grant for grant in grants(rendered) if grant[0] == ""}
    assert everywhere == {("", "authentication.k8s.io", "tokenreviews", "create", "")}


@pytest.mark.parametrize("name", ["given-certificate", "cert-manager"])
def test_where_a_certificate_is_given_it_reads_no_secret(name: str) -> None:
    rendered = render(values=VALUES / f"{name}.yaml")
    assert grants(rendered) == asked_for(served=[""], tls_secret="")
    assert not any(resource == "secrets" for _, _, resource, _, _ in grants(rendered))


def test_the_secret_is_the_one_that_the_operator_is_told() -> None:
    rendered = render(values=VALUES / "labels.yaml")
    account = {"kind": "ServiceAccount", "name": "our-trainmaster", "namespace": NAMESPACE}
    (secret,) = rendered.flags["--tls-secret"]
    named = {grant for grant in grants(rendered, account) if grant[2] == "secrets"}
    assert named == {(NAMESPACE, "", "secrets", verb, secret) for verb in ("get", "update")}


@pytest.mark.parametrize("release", ["trainmaster", "team-a", "trainmaster-b"])
def test_the_lease_is_the_one_that_the_operator_is_told_and_no_other_release_has_it(release: str) -> None:
    rendered = render(release=release)
    name = rendered.one("Deployment")["metadata"]["name"]
    account = OPERATOR | {"name": name}
    named = {grant for grant in grants(rendered, account) if grant[2] == "leases" and grant[4]}

    assert rendered.flags["--lease-name"] == [name]
    assert named == {(NAMESPACE, "coordination.k8s.io", "leases", verb, name) for verb in ("get", "update")}
    assert name == {"team-a": "team-a-trainmaster"}.get(release, release)


def test_no_role_of_the_chart_lets_anybody_become_more() -> None:
    rendered = render(values=VALUES / "everything.yaml")
    rules = [rule for each in rendered.objects if each["kind"] in {"Role", "ClusterRole"} for rule in each["rules"]]
    said = {word for rule in rules for part in ("apiGroups", "resources", "verbs") for word in rule[part]}
    assert not said & {"*", "escalate", "bind", "impersonate", "roles", "clusterroles", "pods/exec"}
    assert [rule["resourceNames"] for rule in rules if "secrets" in rule["resources"]] == [[TLS_SECRET]]


def test_nobody_but_the_operator_is_bound_to_its_roles() -> None:
    rendered = render(values=VALUES / "everything.yaml")
    bindings = [*rendered.of("RoleBinding"), *rendered.of("ClusterRoleBinding")]
    assert [each["subjects"] for each in bindings] == [[OPERATOR] for _ in bindings]


def test_users_roles_are_added_to_kubernetes_own_and_write_no_status() -> None:
    rendered = render(values=VALUES / "admission.yaml")
    view, edit = rendered.one("ClusterRole", "trainmaster-view"), rendered.one("ClusterRole", "trainmaster-edit")
    aggregated = "rbac.authorization.k8s.io/aggregate-to-"
    for role, names in ((view, {"view", "edit", "admin"}), (edit, {"edit", "admin"})):
        assert {name.removeprefix(aggregated) for name in role["metadata"]["labels"] if aggregated in name} == names
    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert {resource for rule in edit["rules"] for resource in rule["resources"]} == {"trainingruns"}
    assert render().of("ClusterRole") == [
        each
        for each in rendered.of("ClusterRole")
        if each["metadata"]["labels"]["app.kubernetes.io/component"] != "users"
    ]


def test_the_names_that_permissions_say_are_those_of_the_chart() -> None:
    rendered = render()
    assert rendered.one("Secret")["metadata"]["name"] == TLS_SECRET
    assert rendered.flags["--lease-name"] == [LEASE]
    assert {name for each in PERMISSIONS for name in each.names} == {LEASE, TLS_SECRET}
