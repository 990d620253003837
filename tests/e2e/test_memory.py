"""Memory that runs out is charged to the training as a crash, whoever the kernel kills for it."""

from __future__ import annotations

from tests.support.node.team import Team

LIMIT = "128Mi"
"""Of the pod: a launcher and a small program need half of it."""
PACE = {"steps": 20, "seconds_per_step": 0.1}


def test_a_process_that_is_killed_for_memory_is_started_again_by_its_launcher(team: Team) -> None:
    run = team.train("hungry", PACE | {"exhaust_at": 5}, resources={"cpu": 1, "memory": LIMIT})
    status = run.wait_phase("Succeeded", "Failed")

    assert (status["phase"], status["launch"]) == ("Succeeded", 1)
    assert (status["crashes"], status["disruptions"]) == (1, 0)
    assert "killed by SIGKILL, as the kernel does where memory runs out" in status["lastCrash"]


def test_a_pod_that_is_killed_for_memory_gets_another_launch(team: Team) -> None:
    run = team.train("bursting", PACE | {"fill_at": 5}, resources={"cpu": 1, "memory": LIMIT})
    status = run.wait_phase("Succeeded", "Failed")

    first = run.pods(1)[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (first["exitCode"], first["reason"]) == (137, "OOMKilled")
    assert (status["phase"], status["launch"]) == ("Succeeded", 2)
    assert status["crashes"] >= 1
    assert status["disruptions"] == 0
    assert "OOMKilled" in status["lastCrash"]
    assert "spec.resources.memory" in status["lastCrash"]
