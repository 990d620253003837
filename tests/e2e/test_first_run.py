"""A run from `kubectl apply` to its verdict: real pods, reports over TLS with the pod's own token, nothing left."""

from __future__ import annotations

import json

from tests.support.launcher import wait_until
from tests.support.node.release import Release
from tests.support.node.team import PATIENCE, Json, Team

STEPS = 75
PACE = {"steps": STEPS, "seconds_per_step": 0.2}
"""Fifteen seconds: status is written every ten in steady state, so that it tells of training while it runs."""


def test_a_run_trains_in_a_pod_and_its_numbers_arrive_over_tls(team: Team, release: Release) -> None:
    run = team.train("first", PACE)
    run.wait_for(_progresses, what="progress while it trains")
    status = run.wait_phase("Succeeded", "Failed")

    assert status["phase"] == "Succeeded"
    assert float(status["metrics"]["val_loss"]) < 1e-6
    assert status["progress"]["percent"] == 100
    assert (status["launch"], status["crashes"], status["disruptions"]) == (1, 0, 0)
    container = run.pods(1)[0]["spec"]["containers"][0]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["TRAINMASTER_REPORT_URL"].startswith("https://")
    assert release.metric("trainmaster_reports_total", 'code="200"') > 0


def _progresses(status: Json) -> bool:
    return bool(status.get("phase") == "Running" and (status.get("progress") or {}).get("step", 0) > 0)


def test_the_verdict_is_in_the_termination_message_too(team: Team) -> None:
    run = team.train("said", {"steps": 2})
    run.wait_phase("Succeeded")

    ended = run.pods(1)[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    message = json.loads(ended["message"])
    assert ended["exitCode"] == 0
    assert message["verdict"]["outcome"] == "Completed"


def test_a_deleted_run_leaves_no_job_and_no_pod(team: Team) -> None:
    run = team.train("unwanted", {"steps": 10_000, "seconds_per_step": 0.1}, terminationGracePeriodSeconds=5)
    run.wait_phase("Running")
    team.kubectl("delete", "trainingrun", "unwanted")

    wait_until(lambda: team.get("jobs") == [] and team.get("pods") == [], what="an empty namespace", timeout=PATIENCE)


def test_an_example_of_the_project_trains_as_it_is(team: Team) -> None:
    team.kubectl("apply", "--filename=examples/custom.yaml")
    status = team.run("custom").wait_phase("Succeeded", "Failed")

    assert status["phase"] == "Succeeded"
    assert status["progress"]["percent"] == 100
