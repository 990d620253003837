"""SIGKILL, at each write of the operator and at random moments: what comes of a run is the same.

Cases 1, 2, 3 and 5 of the fault catalogue are the kill series: each write of six scripts, killed before it reaches the
server and after it was committed. Case 4 has no counterpart yet: nothing outside the API server is written.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.oracle import assert_same
from tests.support.reference_run import SCRIPTS, SIDES, Side, play
from tests.support.scene import Scene, scene
from trainmaster.api.labels import LABEL_LAUNCH, LABEL_RUN_UID

MOMENTS_SECONDS = 0.4
"""A random kill comes within so long after the operator has begun to work on what was just created."""
END_PLAY = 2
"""Writes that a play may have less than its twin: a pod that starts quickly skips a status."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_sample_of_the_kill_series(plane: ControlPlane, tmp_path: Path, seed: int, name: str) -> None:
    twin = play(plane, SCRIPTS[name], folder=tmp_path)
    dice = random.Random(f"{seed} {name}")
    side, write = dice.choice(SIDES), dice.randint(1, twin.writes)

    disturbed = play(plane, SCRIPTS[name], folder=tmp_path, side=side, write=write)

    assert disturbed.struck or write > twin.writes - END_PLAY, f"no kill {side} write {write} of {twin.writes}"
    assert_same(twin.trace, disturbed.trace)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_kill_series_whole(plane: ControlPlane, tmp_path: Path, name: str, side: Side) -> None:
    twin = play(plane, SCRIPTS[name], folder=tmp_path)
    failures: list[str] = []
    struck: list[int] = []
    longest = (0.0, 0)
    for write in range(1, twin.writes + 1):
        began = time.monotonic()
        try:
            disturbed = play(plane, SCRIPTS[name], folder=tmp_path, side=side, write=write)
            assert_same(twin.trace, disturbed.trace)
        except AssertionError as error:
            failures.append(f"killed {side} write {write}: {error}")
        else:
            struck += [write] if disturbed.struck else []
        longest = max(longest, (time.monotonic() - began, write))
    figures = f"{len(struck)} struck, {len(failures)} failed, the longest took {longest[0]:.0f} s (write {longest[1]})"
    print(f"{name}, killed {side} each of {twin.writes} writes: {figures}")  # noqa: T201 - what a soak is run for
    assert not failures, "\n\n".join(failures)
    assert len(struck) >= twin.writes - END_PLAY


def kill_at_random(stage: Scene, *, dice: random.Random, kills: int, creations: int) -> list[str]:
    """Create runs, and kill the operator in the midst of it; the UIDs of the runs."""
    uids: list[str] = []
    for number in range(kills):
        stage.operator.wait_until_leading()
        while len(uids) < creations * (number + 1) // kills:
            uids.append(stage.create(f"run-{len(uids)}").uid)
        time.sleep(dice.uniform(0, MOMENTS_SECONDS))  # the moment of the kill is what is random
        stage.keeper.replace()
    return uids


@pytest.mark.parametrize(
    ("kills", "creations"),
    [(10, 40), pytest.param(200, 500, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_random_kills_during_creations_leave_one_job_for_each_run(
    plane: ControlPlane, tmp_path: Path, seed: int, kills: int, creations: int
) -> None:
    with scene(plane, folder=tmp_path) as stage:
        uids = kill_at_random(stage, dice=random.Random(seed), kills=kills, creations=creations)
        stage.wait_for(lambda: running(stage) == set(uids), what=f"{creations} runs that run")

        made = Counter(
            job_of(seen.object) for seen in stage.history.states if (seen.kind, seen.type) == ("Job", "ADDED")
        )
        assert made == Counter((uid, "1") for uid in uids), "one Job for each UID and launch, and no other"
        assert stage.keeper.starts == kills + 1
        stage.assert_lawful()


def running(stage: Scene) -> set[str]:
    runs = stage.history.objects("TrainingRun")
    return {run["metadata"]["uid"] for run in runs if run.get("status", {}).get("phase") == "Running"}


def job_of(job: dict[str, dict[str, dict[str, str]]]) -> tuple[str, str]:
    labels = job["metadata"]["labels"]
    return labels[LABEL_RUN_UID], labels[LABEL_LAUNCH]
