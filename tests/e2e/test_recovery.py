"""What happens to processes and pods is answered by the cheapest thing that helps, and charged to whom it belongs."""

from __future__ import annotations

import json

from tests.support.node import Cluster
from tests.support.node.team import Run, Team
from tests.support.node.volume import tiny_volume
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_RETRY, Reason

EVENT_STEP = 10
"""By then training has begun and saved."""
PACE = {"steps": 60, "seconds_per_step": 0.1}


def charged(run: Run) -> tuple[int, int, int]:
    """Launches, crashes, disruptions."""
    status = run.status
    return status["launch"], status["crashes"], status["disruptions"]


def test_a_crash_costs_a_process_and_keeps_the_pod(team: Team) -> None:
    run = team.train("crashes", PACE | {"crash_at": EVENT_STEP})
    status = run.wait_phase("Succeeded", "Failed")

    assert status["phase"] == "Succeeded"
    assert charged(run) == (1, 1, 0)
    assert len(run.pods()) == 1


def test_exit_code_75_is_a_new_launch(team: Team) -> None:
    run = team.train("retries", PACE | {"exit_at": EVENT_STEP, "exit_code": EXIT_RETRY})
    status = run.wait_phase("Succeeded", "Failed")

    assert status["phase"] == "Succeeded"
    assert status["launch"] == 2


def test_exit_code_78_is_the_end_and_says_why(team: Team) -> None:
    run = team.train("misconfigured", PACE | {"exit_at": EVENT_STEP, "exit_code": EXIT_CONFIGURATION})
    status = run.wait_phase("Succeeded", "Failed")

    assert status["phase"] == "Failed"
    assert run.condition("Stalled")["reason"] == Reason.INVALID_CONFIGURATION
    assert status["launch"] == 1


def test_an_eviction_is_charged_to_nobody_and_training_goes_on_from_its_state(team: Team) -> None:
    run = team.train("evicted", {"steps": 150, "seconds_per_step": 0.1}, terminationGracePeriodSeconds=10)
    run.wait_for(lambda status: (status.get("progress") or {}).get("step", 0) > 0, what="progress")
    pod = run.pod(1)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{team.name}/pods/{pod}/eviction"
    team.kubectl("create", f"--raw={path}", "--filename=-", input=json.dumps(body))
    status = run.wait_phase("Succeeded", "Failed")

    assert status["phase"] == "Succeeded"
    assert charged(run) == (2, 0, 1)


def test_a_full_volume_ends_the_run_when_it_has_crashed_twice_in_the_same_place(cluster: Cluster, team: Team) -> None:
    with tiny_volume(cluster, team) as claim_name:
        run = team.train("full", {"steps": 100_000}, storage={"checkpoints": f"pvc://{claim_name}"})
        status = run.wait_phase("Succeeded", "Failed")

    assert status["phase"] == "Failed"
    assert run.condition("Stalled")["reason"] == Reason.REPEATED_CRASH
    assert "No space left on device" in run.condition("Stalled")["message"]
    assert (status["launch"], status["disruptions"]) == (1, 0)
    assert status["crashes"] >= 2
