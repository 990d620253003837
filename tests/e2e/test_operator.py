"""What becomes of runs while their operator is away, killed, or upgraded: nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.launcher import wait_until
from tests.support.node.journal import read_journal
from tests.support.node.release import Release
from tests.support.node.team import PATIENCE, Run, Team

FELLOWS = ("left", "right")
"""As many runs as a machine of two cores takes at once."""


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


def test_runs_train_on_through_a_killed_and_an_upgraded_operator(team: Team, away: Release) -> None:
    """No older image is kept yet: an upgrade is the same image with another value, so that the pod is replaced."""
    runs = [team.train(name, {"steps": 100_000, "seconds_per_step": 0.2}) for name in FELLOWS]
    for run in runs:
        wait_reported(run)
    pods = {run.name: run.pods(1)[0]["metadata"]["uid"] for run in runs}
    first = away.operators()
    away.kill()
    for run in runs:
        wait_reported(run)
    second = away.operators()
    away.install("podAnnotations.upgraded=yes")
    for run in runs:
        wait_reported(run)

    assert len({*first, *second, *away.operators()}) >= 3
    assert {run.name: run.pods(1)[0]["metadata"]["uid"] for run in runs} == pods
    for run in runs:
        steps = read_journal(run).steps
        assert steps == list(range(len(steps))), "each step was made once, in order"
        assert (run.status["phase"], run.status["crashes"], run.status["disruptions"]) == ("Running", 0, 0)


def wait_reported(run: Run) -> None:
    """Wait until an operator has all that there is now, and none of it is missing."""
    run.wait_phase("Running")
    newest = read_journal(run).last

    def has_come() -> bool:
        journal = read_journal(run)
        assert journal.gaps == []
        return newest <= journal.has

    wait_until(has_come, what=f"reports of {run.name} up to entry {newest}", timeout=PATIENCE)


def pod_phase(run: Run) -> str:
    return str(run.pods(1)[0]["status"]["phase"])
