"""The recorded objects are what the operator writes today; `python -m tests.support.gitops` records them anew."""

from __future__ import annotations

import pytest

from tests.support.gitops.plays import PLAYS
from tests.support.gitops.recordings import FOLDER, essence, recorded
from tests.support.scene import Scene


def test_no_recording_is_left_of_a_play_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(PLAYS)


@pytest.mark.parametrize("name", PLAYS)
def test_the_operator_writes_what_was_recorded(name: str, stage: Scene) -> None:
    assert essence(PLAYS[name](stage)) == essence(recorded(name))
