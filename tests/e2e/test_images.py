"""The operator's image: what it says of itself, what is in its layers. Of a given cluster's images nothing is known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.node import Cluster
from tests.support.node.images import BASE, OPERATOR, Images
from tests.support.node.release import NAME, Release

Json = dict[str, Any]

LIMIT_MB = 120
"""What the operator adds to its base: no torch, no pandas, no MLflow goes into that."""


@pytest.fixture
def images(cluster: Cluster) -> Images:
    if cluster.node is None:
        pytest.skip("a given cluster brings its own images")
    return Images(folders=cluster.node.folders)


def test_it_runs_as_a_number_that_is_not_root(images: Images) -> None:
    config = images.config(OPERATOR)

    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["trainmaster"]


def test_it_says_what_it_is_in_labels_of_oci(images: Images) -> None:
    labels = images.config(OPERATOR)["Labels"]

    for name in ("title", "description", "licenses", "version", "revision"):
        assert labels[f"org.opencontainers.image.{name}"]


def test_it_is_small(images: Images) -> None:
    assert images.megabytes(OPERATOR) - images.megabytes(BASE) < LIMIT_MB


def test_all_but_the_code_is_below_the_last_layer(images: Images) -> None:
    layers, base = images.layers(OPERATOR), images.layers(BASE)

    assert layers[: len(base)] == base
    assert len(layers) == len(base) + 2, "packages, then code"


def test_the_operator_has_no_torch(cluster: Cluster, release: Release) -> None:
    look = "import importlib.util as u; print([m for m in ('torch', 'pandas', 'mlflow', 'kopf') if u.find_spec(m)])"
    pod = f"--namespace={NAME}", f"deployment/{NAME}"
    found = cluster.kubectl("exec", *pod, "--", "python", "-c", look).stdout

    assert json.loads(found.replace("'", '"')) == ["kopf"]


def test_the_operators_root_is_read_only(cluster: Cluster, release: Release) -> None:
    pod = f"--namespace={NAME}", f"deployment/{NAME}"
    done = cluster.kubectl("exec", *pod, "--", "touch", "/opt/trainmaster/anything", check=False)

    assert done.returncode != 0
    assert "Read-only file system" in done.stderr
