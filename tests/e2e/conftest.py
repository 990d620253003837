"""A cluster in which pods run, our chart in it, and a namespace for each test.

They need root and minutes: `make e2e` runs these tests, `make test` leaves them out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.node import Cluster, use_cluster
from tests.support.node.images import Images
from tests.support.node.release import Release
from tests.support.node.team import Team, new_team, wait_disbanded

TORCH = "TRAINMASTER_E2E_TORCH"
"""Environment variable: 1 means that the trainer's own image, with torch, is built and tried: many minutes and GB."""

collect_ignore_glob = [] if os.environ.get("TRAINMASTER_E2E") == "1" else ["test_*.py"]
if os.environ.get(TORCH) != "1":
    collect_ignore_glob.append("test_torch.py")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The given cluster, the one that runs, or one that is ended after the last test: nothing of it may be left."""
    with use_cluster() as cluster:
        if cluster.node is not None:
            images = Images(folders=cluster.node.folders)
            images.bring(cluster.node.images)
            if os.environ.get(TORCH) == "1":
                images.bring_trainer(cluster.node.images)
        yield cluster


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Iterator[Release]:
    """The chart, installed with its own defaults and the stub as trainer."""
    release = Release(cluster=cluster)
    release.install()
    yield release
    wait_disbanded(cluster)
    release.uninstall()
    assert release.objects() == []


@pytest.fixture
def team(cluster: Cluster, release: Release) -> Iterator[Team]:
    """A namespace of somebody who trains."""
    with new_team(cluster) as team:
        yield team
