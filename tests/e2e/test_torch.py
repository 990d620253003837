"""The trainer's own image: the market classifier trains on real bars in a pod. `make e2e-torch` runs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.node import Cluster
from tests.support.node.release import Release
from tests.support.node.team import Team, new_team


@pytest.fixture
def team(cluster: Cluster, release: Release) -> Iterator[Team]:
    """A namespace, while runs get the trainer's image."""
    Release(cluster=cluster, trainer="trainer").install()
    with new_team(cluster) as team:
        yield team
    release.install()


def test_the_market_example_trains_in_a_pod(team: Team) -> None:
    team.kubectl("apply", "--filename=examples/market.yaml")
    status = team.run("market").wait_phase("Succeeded", "Failed", patience=1200.0)

    assert status["phase"] == "Succeeded"
    assert 0.0 <= float(status["metrics"]["test_accuracy"]) <= 1.0
    assert status["checkpoint"]["path"]
