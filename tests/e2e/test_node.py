"""A kubelet that is away: for half a minute nothing happens, for longer nothing is started twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.launcher import wait_until
from tests.support.node import Cluster
from tests.support.node.addresses import NODE
from tests.support.node.daemons import Daemons
from tests.support.node.team import PATIENCE, Json, Run, Team
from trainmaster.api.conditions import Reason

SECONDS_PER_STEP = 0.2
AWAY_SECONDS = 30
"""Less than the 50 s after which Kubernetes takes a node for lost."""
PACE = {"steps": 100_000, "seconds_per_step": SECONDS_PER_STEP}
TOLERATED_SECONDS = 3
UNREACHABLE = "node.kubernetes.io/unreachable"


@pytest.fixture
def daemons(cluster: Cluster) -> Iterator[Daemons]:
    """The node's daemons; afterwards the kubelet runs and the node is ready."""
    if cluster.node is None:
        pytest.skip("a given cluster's kubelet is not ours to stop")
    yield cluster.node.daemons
    cluster.kubectl("taint", "node", NODE, f"{UNREACHABLE}:NoExecute-", check=False)
    if not cluster.node.daemons.runs("kubelet"):
        cluster.node.daemons.start("kubelet")
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")


def test_a_kubelet_that_is_away_for_half_a_minute_changes_nothing(team: Team, daemons: Daemons) -> None:
    run = team.train("patient", PACE)
    run.wait_for(lambda _: run.step() > 0, what="progress")
    before = containers(run)
    daemons.stop("kubelet")
    enough = run.step() + AWAY_SECONDS / SECONDS_PER_STEP
    run.wait_for(lambda _: run.step() > enough, what="half a minute of training without a kubelet")
    assert (run.status["phase"], len(run.pods())) == ("Running", 1)
    daemons.start("kubelet")
    wait_until(lambda: is_heard(run), what="the kubelet's answer", timeout=PATIENCE)

    status = run.status
    assert containers(run) == before
    assert (status["phase"], status["launch"], status["crashes"], status["disruptions"]) == ("Running", 1, 0, 0)


@pytest.mark.soak
def test_a_lost_node_keeps_the_next_launch_waiting_until_its_pod_is_gone(team: Team, daemons: Daemons) -> None:
    """A minute and a half, of which Kubernetes takes 50 s to give a node up: TRAINMASTER_E2E=1, -m soak."""
    tolerations = [
        {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS}
    ]
    run = team.train("lost", PACE, tolerations=tolerations, terminationGracePeriodSeconds=5)
    run.wait_for(lambda _: run.step() > 0, what="progress")
    daemons.stop("kubelet")
    give_up(team.cluster)
    run.wait_for(lambda _: run.condition("Ready").get("reason") == Reason.NODE_LOST, what="a node that is lost")
    status, told = run.status, run.condition("Ready")["message"]
    assert (status["launch"], len(run.pods()), len(run.jobs())) == (1, 1, 1), "it may still train there"
    assert status["phase"] == "Pending"
    assert "it may still train there" in told

    daemons.start("kubelet")
    # Kubernetes does so when the node is back; the next launch's pod need not wait for that.
    team.cluster.kubectl("taint", "node", NODE, f"{UNREACHABLE}:NoExecute-", check=False)
    run.wait_for(lambda status: status["launch"] == 2 and status["phase"] == "Running", what="the next launch")
    status = run.status
    assert [pod["metadata"]["name"] for pod in run.pods() if is_alive(pod)] == [run.pod(2)]
    assert (status["crashes"], status["disruptions"]) == (0, 1)


def give_up(cluster: Cluster) -> None:
    """Wait until the node is given up, and have its pods evicted, as Kubernetes does where other nodes are there.

    Where the only node is lost it evicts nothing: it takes itself for the one that is cut off.
    """
    cluster.kubectl("wait", "--for=condition=Ready=Unknown", f"node/{NODE}", "--timeout=120s")
    cluster.kubectl("taint", "node", NODE, f"{UNREACHABLE}:NoExecute", "--overwrite")


def containers(run: Run) -> list[tuple[str, int]]:
    """Containers of the run's pods, and how often each was started again."""
    found = (pod["status"]["containerStatuses"][0] for pod in run.pods())
    return [(each["containerID"], each["restartCount"]) for each in found]


def is_alive(pod: Json) -> bool:
    return pod["status"]["phase"] not in {"Succeeded", "Failed"}


def is_heard(run: Run) -> bool:
    """Whether the kubelet answers questions about the pod."""
    return run.team.kubectl("exec", run.pod(1), "--", "echo", "here", check=False).strip() == "here"
