"""A launch that cannot begin says why in the words of who knows, and begins or ends when it should."""

from __future__ import annotations

import pytest

from tests.support.node import Cluster
from tests.support.node.images import FOREIGN
from tests.support.node.team import Json, Run, Team
from trainmaster.api.conditions import Reason

MISSING = "localhost/trainmaster/pushed-late:e2e"
"""An image that is not there at first. Nobody answers at its registry, so the kubelet's pulls fail at once."""
UNCHARGED = (1, 0, 0)
"""One launch, no crash, no disruption."""


def why(run: Run) -> tuple[str, str]:
    """Reason and message of why it is not ready."""
    ready = run.condition("Ready")
    return ready.get("reason", ""), ready.get("message", "")


def charged(status: Json) -> tuple[int, int, int]:
    return status["launch"], status["crashes"], status["disruptions"]


def test_an_image_that_cannot_be_pulled_is_told_of_and_trains_when_it_is_there(cluster: Cluster, team: Team) -> None:
    if cluster.node is None:
        pytest.skip("a given cluster's images are not ours to name")
    run = team.train("early", image=MISSING, command=["python3", "-c", "print('trained')"])
    run.wait_for(lambda _: why(run)[0] == Reason.IMAGE_PULL_FAILED, what="words about its image")
    phase, message = run.status["phase"], why(run)[1]
    cluster.node.images.tag(MISSING, like=FOREIGN)
    try:
        status = run.wait_phase("Succeeded", "Failed")
    finally:
        cluster.node.images.untag(MISSING)

    assert phase == "Pending"
    assert message.startswith("the image cannot be pulled")
    assert MISSING in message
    assert (status["phase"], charged(status)) == ("Succeeded", UNCHARGED)


def test_a_gpu_that_no_node_has_is_waited_for_until_the_deadline(team: Team) -> None:
    run = team.train("greedy", resources={"cpu": 1, "gpus": 1}, schedulingDeadlineSeconds=5)
    run.wait_for(lambda _: why(run)[0] == Reason.UNSCHEDULABLE, what="words about its node")
    message = why(run)[1]
    status = run.wait_phase("Failed", "Succeeded")

    assert "Insufficient nvidia.com/gpu" in message
    assert status["phase"] == "Failed"
    assert run.condition("Stalled")["reason"] == Reason.SCHEDULING_DEADLINE_EXCEEDED
    assert charged(status) == UNCHARGED
