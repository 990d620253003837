"""An image that holds python3 and nothing of ours trains all the same: the launcher comes by init container."""

from __future__ import annotations

import os

from tests.support.node.release import IMAGES
from tests.support.node.team import Team

FOREIGN = f"{os.environ.get(IMAGES, 'localhost/trainmaster')}/foreign:e2e"
TRAINING = """\
from trainmaster_launcher.sdk import connect

session = connect()
for step in range(20):
    session.progress("training", step=step, total_steps=20)
    session.point("train", step=step, metrics={"loss": 1 / (step + 1)})
session.done(metrics={"loss": 0.05})
"""


def test_a_foreign_image_trains_with_the_launcher_that_is_brought_to_it(team: Team) -> None:
    run = team.train("foreign", image=FOREIGN, command=["python3", "-c", TRAINING])
    status = run.wait_phase("Succeeded", "Failed")

    assert status["phase"] == "Succeeded"
    assert float(status["metrics"]["loss"]) == 0.05
    pod = run.pods(1)[0]["spec"]
    assert pod["containers"][0]["command"] == ["python3", "/trainmaster/launcher.pyz"]
    assert [each["image"] for each in pod["containers"]] == [FOREIGN]


def test_it_holds_nothing_of_ours(team: Team) -> None:
    """Without the init container there is no launcher to be found in it."""
    look = "import importlib.util as u; print([m for m in ('trainmaster_launcher', 'trainmaster') if u.find_spec(m)])"
    run = team.train("looks", image=FOREIGN, command=["python3", "-I", "-c", look])
    run.wait_phase("Succeeded", "Failed")

    assert "[]" in team.kubectl("logs", run.pod(1))
