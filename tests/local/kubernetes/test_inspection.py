"""What `trainmaster selftest --cluster` makes of an API server's answers, and of flags that do not go together."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.scripted_server import Answer, refuses, says, scripted_server
from trainmaster.adapters.kubernetes import inspection as module
from trainmaster.adapters.kubernetes.client import ApiClient
from trainmaster.adapters.kubernetes.inspection import ClusterInspection, UnfitClusterError
from trainmaster.api.crds import all_crds
from trainmaster.api.labels import GROUP, VERSION
from trainmaster.cli import main as program
from trainmaster.cli import selftest_cluster
from trainmaster.cli.selftest_cluster import inspect_cluster

Json = dict[str, Any]
CRD = all_crds()[0]
EMPTY = says({"components": {"schemas": {}}})
SERVED = says({"resources": [{"name": CRD["spec"]["names"]["plural"]}]})
GROUPS = says({"versions": [{"version": VERSION}]})


def published(crd: Json) -> Answer:
    version = crd["spec"]["versions"][0]
    about = [{"group": GROUP, "version": VERSION, "kind": crd["spec"]["names"]["kind"]}]
    schema = version["schema"]["openAPIV3Schema"] | {"x-kubernetes-group-version-kind": about}
    return says({"components": {"schemas": {"one": schema}}})


def verdict(*script: Answer) -> str:
    async def main() -> str:
        async with scripted_server(*script) as server, ApiClient(server.connection) as client:
            return await ClusterInspection(client, namespaces=(), lease_namespace="ours").kind(CRD)

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PUBLISH_PAUSE_SECONDS", 0)


# -- kinds --------------------------------------------------------------------------------------------------------


def test_a_kind_that_was_just_applied_is_waited_for() -> None:
    assert "as this program knows it" in verdict(EMPTY, SERVED, EMPTY, SERVED, published(CRD))


def test_a_kind_that_is_served_and_not_published_in_time_is_said_to_be_fresh() -> None:
    with pytest.raises(UnfitClusterError, match="not published yet: try again in a few seconds"):
        verdict(*[EMPTY, SERVED] * module.PUBLISH_TRIES)


def test_a_kind_that_is_not_there_beside_others_of_ours_is_to_be_applied_and_no_version_is_said_twice() -> None:
    with pytest.raises(UnfitClusterError) as caught:
        verdict(EMPTY, says({"resources": []}), GROUPS)

    assert "is not served in version v1alpha1: trainmaster crds | kubectl apply --server-side" in str(caught.value)


def test_versions_that_are_served_instead_are_named() -> None:
    with pytest.raises(UnfitClusterError, match="; served are v2: trainmaster crds"):
        verdict(refuses(404), refuses(404), says({"versions": [{"version": "v2"}]}))


# -- permissions --------------------------------------------------------------------------------------------------


async def stranger(request: Any) -> Any:  # noqa: ANN401 - aiohttp's request and response
    """An API server with our kinds, and a user who may nothing."""
    if request.path == "/version":
        return await says({"major": "1", "minor": "34", "gitVersion": "v1.34.0"})(request)
    if request.path.endswith("/selfsubjectreviews"):
        return await says({"status": {"userInfo": {"username": "somebody"}}})(request)
    if request.path.endswith("/selfsubjectaccessreviews"):
        return await says({"status": {"allowed": False}})(request)
    return await refuses(404)(request)


def test_what_is_missing_is_said_in_words_and_granted_in_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> tuple[list[Any], str]:
        async with scripted_server(*[stranger] * 200) as server:
            monkeypatch.setattr(selftest_cluster, "load_connection", server.connection)
            return await asyncio.to_thread(inspect_cluster, ["team"], lease_namespace="ours")

    outcomes, grant = asyncio.run(main())

    failed = [outcome.detail for outcome in outcomes if outcome.name.startswith("permission ")]
    assert len(failed) > 5
    for detail in failed:
        assert not re.search(r"[{}\[\]]", detail), "words, no Python"
        assert "--rbac prints the rules" in detail
    assert {role["kind"] for role in yaml.safe_load_all(grant)} >= {"Role", "RoleBinding", "ClusterRole"}


# -- flags --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-n", "team"), "--namespace needs --cluster"),
        (("--lease-namespace", "team"), "--lease-namespace needs --cluster"),
        (("--lease-name", "team"), "--lease-name needs --cluster"),
        (("--rbac",), "--rbac needs --cluster"),
        (("--cluster", "--state-dir", "x"), "--state-dir is for this machine, not for --cluster"),
        (("--cluster", "--rbac", "-o", "json"), "--rbac prints YAML for kubectl: give no --output"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(arguments: tuple[str, ...], told: str) -> None:
    ended = CliRunner().invoke(program.app, ["selftest", *arguments])

    assert ended.exit_code == 2
    assert told in ended.output


@pytest.mark.parametrize("grant", ["kind: Role\n", ""])
def test_rbac_prints_what_kubectl_applies_and_nothing_else(grant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_cluster, "inspect_cluster", lambda *_, **__: ([], grant))
    ended = CliRunner().invoke(program.app, ["selftest", "--cluster", "--rbac"])

    assert (ended.exit_code, ended.stdout) == (0, grant)
    assert ("nothing is missing" in ended.stderr) == (not grant)
