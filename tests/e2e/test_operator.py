"""What becomes of runs while their operator is away, killed, or upgraded: nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pytest

from tests.support.launcher import wait_until
from tests.support.node import Cluster
from tests.support.node.first_release import first_release
from tests.support.node.journal import read_journals
from tests.support.node.release import NAME, Release
from tests.support.node.small_pods import small_pods
from tests.support.node.team import PATIENCE, Run, Team

RUNS = 10
PACE = 0.5
"""Seconds per step: ten runs report beside the cluster on two cores."""
QUIET_SECONDS = 15.0
"""In which steps are made while nothing happens to the operator."""


@pytest.fixture
def away(release: Release) -> Iterator[Release]:
    """The operator may be taken away; afterwards it is back, as the chart has it."""
    yield release
    release.install()


def test_a_run_that_ends_while_nobody_operates_is_known_by_its_last_word(team: Team, away: Release) -> None:
    run = team.train("alone", {"steps": 120, "seconds_per_step": 0.1})
    run.wait_phase("Running")
    away.scale(0)
    wait_until(lambda: pod_phase(run) == "Succeeded", what="the end of its pod", timeout=PATIENCE)
    assert run.status["phase"] == "Running", "nobody has told"
    ended = run.pods(1)[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    message = json.loads(ended["message"])
    away.scale(1)
    status = run.wait_phase("Succeeded", "Failed", "Unknown")

    assert (message["verdict"]["outcome"], status["phase"]) == ("Completed", "Succeeded")
    assert float(status["metrics"]["loss"]) == pytest.approx(message["verdict"]["metrics"]["loss"])
    assert status["progress"]["step"] == message["step"]
    assert status["progress"]["percent"] == 100
    assert (status["launch"], status["crashes"], status["disruptions"]) == (1, 0, 0)


@pytest.fixture
def first(cluster: Cluster, away: Release, tmp_path: Path) -> Release:
    """The first release of the project, in place of the present one."""
    if cluster.node is None:
        pytest.skip("the first release's images are made for our own node")
    first = first_release(cluster, folder=tmp_path)
    cluster.helm("uninstall", NAME, "--namespace", NAME, "--wait")
    wait_until(lambda: first.operators() == [], what="the end of the operators", timeout=PATIENCE)
    first.install()
    return first


@pytest.fixture
def runs(cluster: Cluster, first: Release, team: Team) -> Iterator[list[Run]]:
    """Ten runs under the first release, all of them training."""
    with small_pods(cluster, team):
        runs = [team.train(f"run-{number}", {"steps": 100_000, "seconds_per_step": PACE}) for number in range(RUNS)]
        wait_reported(runs)
        yield runs


def test_ten_runs_train_on_while_their_operator_is_killed_and_upgraded(
    runs: list[Run], first: Release, away: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first chart and image to the present ones: operator, kinds and rights change under the runs."""
    pods = {run.name: run.pods(1)[0]["metadata"]["uid"] for run in runs}
    operators = first.operators()
    time.sleep(QUIET_SECONDS)
    began = datetime.now(UTC)
    first.kill()
    wait_reported(runs)
    operators += first.operators()
    away.install()
    wait_reported(runs)
    ended = datetime.now(UTC)
    journals = read_journals(runs)

    assert len({*operators, *away.operators()}) >= 3
    assert {run.name: run.pods(1)[0]["metadata"]["uid"] for run in runs} == pods
    for run, journal in zip(runs, journals, strict=True):
        assert journal.gaps == []
        assert journal.steps == list(range(len(journal.steps))), "each step was made once, in order"
        assert (run.status["phase"], run.status["crashes"], run.status["disruptions"]) == ("Running", 0, 0)
        assert run.step() > 0
    steps = [step for journal in journals for step in journal.step_seconds]
    before = [seconds for at, seconds in steps if at < began]
    during = [seconds for at, seconds in steps if began <= at <= ended]
    assert min(len(before), len(during)) > RUNS, "there is something to compare"
    with capsys.disabled():
        print(f"\na step before: {told(before)}; while the operator is killed and upgraded: {told(during)}")  # noqa: T201  # a figure, for whoever reads the output


def told(seconds: list[float]) -> str:
    return f"median {median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms, {len(seconds)} steps"


def wait_reported(runs: list[Run]) -> None:
    """Wait until an operator has all that there is now of these runs, and none of it is missing."""
    for run in runs:
        run.wait_phase("Running")
    newest = [journal.last for journal in read_journals(runs)]

    def have_come() -> bool:
        journals = read_journals(runs)
        assert [journal.gaps for journal in journals] == [[] for _ in runs]
        return all(last <= journal.has for last, journal in zip(newest, journals, strict=True))

    wait_until(have_come, what=f"reports up to entries {newest}", timeout=PATIENCE)


def pod_phase(run: Run) -> str:
    return str(run.pods(1)[0]["status"]["phase"])
