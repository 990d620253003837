"""What the operator may do: one list, each verb of it asked for and named when it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from trainmaster.adapters.kubernetes.client import ApiClient, ApiError
from trainmaster.adapters.kubernetes.inspection import REVIEW, ClusterInspection, UnfitClusterError
from trainmaster.adapters.kubernetes.permissions import (
    PERMISSIONS,
    TLS_SECRET,
    Permission,
    Scope,
    permissions,
    roles,
)
from trainmaster.api.crds import all_crds
from trainmaster.api.errors import TrainmasterError

Json = dict[str, Any]
ASKED = [(permission, verb) for permission in PERMISSIONS for verb in permission.verbs]


class Server(ApiClient):
    """An API server that grants all but what it is told to deny."""

    def __init__(self, *, denies: tuple[str, str] = ("", ""), **answers: Json) -> None:
        self.denies = denies
        self.answers = answers
        self.reviewed: list[Json] = []

    @property
    def server(self) -> str:
        return "https://cluster"

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        assert params is None
        name = path.strip("/").split("/")[0]
        if name not in self.answers:
            raise ApiError(status=404, reason="NotFound", message="the server could not find it")
        return self.answers[name]

    async def post(self, path: str, body: Json) -> Json:
        assert path == REVIEW
        asked = body["spec"]["resourceAttributes"]
        self.reviewed.append(asked)
        kind = "/".join(part for part in (asked["resource"], asked.get("subresource")) if part)
        return {"status": {"allowed": (kind, asked["verb"]) != self.denies}}


def inspection(server: Server, *namespaces: str) -> ClusterInspection:
    return ClusterInspection(server, namespaces=namespaces, lease_namespace="ours")


@pytest.mark.parametrize(("permission", "verb"), ASKED, ids=lambda value: getattr(value, "name", value))
def test_each_verb_that_is_missing_is_named_alone(*, permission: Permission, verb: str) -> None:
    server = Server(denies=(permission.resource, verb))
    found = [asyncio.run(inspection(server).missing(each)) for each in PERMISSIONS]
    (missing,) = [each for some in found for each in some]
    assert missing.permission.rule() == replace(permission, verbs=(verb,)).rule()
    assert len(server.reviewed) == len(ASKED), "all others were asked for too"


def test_permissions_are_asked_for_where_they_are_needed() -> None:
    server = Server()
    for permission in PERMISSIONS:
        assert asyncio.run(inspection(server, "a", "b").missing(permission)) == []
    places: dict[str, set[str]] = {asked["resource"]: set() for asked in server.reviewed}
    for asked in server.reviewed:
        places[asked["resource"]].add(asked["namespace"])
    assert (places["jobs"], places["tokenreviews"], places["leases"]) == ({"a", "b"}, {""}, {"ours"})


def test_nothing_dangerous_is_in_the_list() -> None:
    written = {(p.resource, verb) for p in PERMISSIONS for verb in p.verbs} - {
        (p.resource, verb) for p in PERMISSIONS for verb in ("get", "list", "watch")
    }
    assert written == {
        ("trainingruns/status", "patch"),
        ("runrecords", "create"),
        ("jobs", "create"),
        ("jobs", "delete"),
        ("events", "create"),
        ("events", "patch"),
        ("tokenreviews", "create"),
        ("leases", "create"),
        ("leases", "update"),
        ("secrets", "update"),
    }


def test_of_secrets_one_of_our_own_namespace_is_needed_and_none_where_a_certificate_is_given() -> None:
    (secrets,) = [p for p in permissions(tls_secret="ours-tls") if p.resource == "secrets"]
    assert (secrets.scope, secrets.names, secrets.verbs) == (Scope.OWN, ("ours-tls",), ("get", "update"))
    assert "secrets" not in {p.resource for p in permissions(tls_secret="")}


def test_of_leases_only_the_own_one_may_be_held() -> None:
    named = [p for p in permissions(lease="team-a") if p.resource == "leases" and p.names]
    assert [(p.scope, p.names, p.verbs) for p in named] == [(Scope.OWN, ("team-a",), ("get", "update"))]


def test_what_is_needed_by_name_is_asked_for_by_name() -> None:
    server = Server()
    for permission in PERMISSIONS:
        asyncio.run(inspection(server).missing(permission))
    named = {(asked["resource"], asked["verb"], asked["name"]) for asked in server.reviewed if asked["name"]}
    assert named == {
        ("leases", "get", "trainmaster"),
        ("leases", "update", "trainmaster"),
        ("secrets", "get", TLS_SECRET),
        ("secrets", "update", TLS_SECRET),
    }


def test_roles_are_bound_to_whoever_asked() -> None:
    by_scope = {each.scope: each for each in PERMISSIONS}
    needed = [(by_scope[Scope.CLUSTER], ""), (by_scope[Scope.OWN], "ours")]
    cluster, cluster_binding, role, binding = roles(needed, user="system:serviceaccount:ours:robot")
    assert (cluster["kind"], cluster["rules"]) == ("ClusterRole", [by_scope[Scope.CLUSTER].rule()])
    assert "namespace" not in cluster["metadata"]
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", "ours")
    assert cluster_binding["subjects"] == [{"kind": "ServiceAccount", "name": "robot", "namespace": "ours"}]
    assert binding["roleRef"]["kind"] == "Role"
    person = roles(needed[:1], user="anna")[1]
    assert person["subjects"] == [{"kind": "User", "name": "anna", "apiGroup": "rbac.authorization.k8s.io"}]


@pytest.mark.parametrize(("minor", "fits"), [("30", False), ("31", True), ("32+", True), ("9", False)])
def test_a_cluster_that_is_too_old_is_told_what_it_needs(*, minor: str, fits: bool) -> None:
    check = inspection(Server(version={"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.0"})).version()
    if fits:
        assert asyncio.run(check) == f"v1.{minor}.0 at https://cluster"
        return
    with pytest.raises(UnfitClusterError, match=r"older than 1\.31"):
        asyncio.run(check)


def test_a_kind_that_is_not_served_is_told_with_what_is() -> None:
    crd = all_crds()[0]
    with pytest.raises(TrainmasterError, match=r"not served in version v1alpha1: trainmaster crds"):
        asyncio.run(inspection(Server()).kind(crd))
    served = Server(apis={"versions": [{"version": "v1beta1"}]})
    with pytest.raises(TrainmasterError, match="served are v1beta1"):
        asyncio.run(inspection(served).kind(crd))
