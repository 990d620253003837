"""The Kubernetes adapter passes the suite of every Cluster, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.support.cluster_contract import ClusterContract
from tests.support.cluster_runs import CLAIM, fresh_namespace
from tests.support.cluster_stage import Bench
from tests.support.control_plane import ControlPlane
from tests.support.kubernetes_bench import kubernetes_bench


@pytest.fixture(scope="module")
def arena(plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(plane) as name:
        plane.add_claim(name, CLAIM)
        yield name


class TestKubernetesCluster(ClusterContract):
    """Jobs and pods of a real API server."""

    @pytest.fixture(autouse=True)
    def _arena(self, plane: ControlPlane, arena: str) -> None:
        self.plane, self.arena = plane, arena

    def opener(self, folder: Path) -> AbstractAsyncContextManager[Bench]:  # noqa: ARG002 - its files are in etcd
        return kubernetes_bench(self.plane, self.arena)
