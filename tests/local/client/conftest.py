"""A cluster of one run whose pods have logs, and the way to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pod_log_double import PodLogDouble, pod_log_double


@pytest.fixture
def cluster() -> Iterator[PodLogDouble]:
    with pod_log_double() as server:
        yield server


@pytest.fixture
def kubeconfig(cluster: PodLogDouble, tmp_path: Path) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return path
