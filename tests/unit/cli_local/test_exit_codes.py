"""What `trainmaster local run` exits with."""

from __future__ import annotations

import pytest

from tests.support.runs import run_of, status_of
from trainmaster.cli.local_run import Driven


@pytest.mark.parametrize(
    ("phases", "interrupted", "code"),
    [
        (["Succeeded"], False, 0),
        (["Succeeded", "Succeeded"], False, 0),
        (["Succeeded", "Failed"], False, 1),
        (["Unknown"], False, 1),
        (["Suspended"], False, 1),
        (["Suspended"], True, 130),
        (["Succeeded", "Suspended"], True, 130),
    ],
)
def test_of_a_session(phases: list[str], *, interrupted: bool, code: int) -> None:
    runs = tuple(run_of(status=status_of(phase=phase)) for phase in phases)
    assert Driven(runs=runs, interrupted=interrupted).exit_code == code
