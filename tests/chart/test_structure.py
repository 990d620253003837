"""A real API server takes every object of every file in values/, and knows every field of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.chart import CLUSTERED, NAMESPACE, Json, render
from tests.support.cluster_runs import NAMESPACES
from tests.support.control_plane import ControlPlane

FILES = sorted((Path(__file__).parent / "values").glob("*.yaml"))
CREATED, EXISTS = 201, 409
FOREIGN = {"monitoring.coreos.com", "cert-manager.io"}
"""Groups of kinds that a test cluster does not have."""
ELSEWHERE = {"CustomResourceDefinition", "Pod"}
"""Kinds that are created for good in other tests: the first are there already, the second needs its account."""


@pytest.fixture(scope="module")
def server(plane: ControlPlane) -> ControlPlane:
    """A server with the namespaces that the files name; other workers may have made them."""
    for name in (NAMESPACE, "team-a", "team-b"):
        assert plane.request("POST", NAMESPACES, {"metadata": {"name": name}}).status in {CREATED, EXISTS}
    return plane


def known_there(item: Json) -> bool:
    return item["kind"] not in ELSEWHERE and item["apiVersion"].partition("/")[0] not in FOREIGN


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_the_server_takes_all_objects(server: ControlPlane, values: Path) -> None:
    objects = [each for each in render(values=values).objects if known_there(each)]
    assert len(objects) > 8
    stream = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    said = server.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=stream, check=False)
    assert said.returncode == 0, said.stderr
    assert len(said.stdout.splitlines()) == len(objects)
    assert "Warning" not in said.stderr, said.stderr


def test_kinds_without_a_namespace_are_those_that_the_server_has_in_none(server: ControlPlane) -> None:
    listed = server.kubectl("api-resources", "--namespaced=false", "--no-headers").stdout.splitlines()
    assert {line.split()[-1] for line in listed} >= CLUSTERED
