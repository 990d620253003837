"""What benchmarks claim: percentiles, and when a goal counts as met."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import pytest

from tests.bench.harness import Options, Target, percentile, publish


def target(
    value: float, *, goal: float | None = 50, better: Literal["higher", "lower"] = "lower", n: int = 100
) -> Target:
    return Target(name="ack p99", unit="ms", goal=goal, value=value, n=n, better=better, enough=100)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_of_nothing_there_is_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize(
    ("claim", "met"),
    [
        (target(50), True),
        (target(51), False),
        (target(51, better="higher"), True),
        (target(49, better="higher"), False),
        (target(1, n=99), None),
        (target(1, goal=None), None),
        (target(math.nan), None),
    ],
)
def test_a_goal_is_met_missed_or_not_judged(claim: Target, met: bool | None) -> None:  # noqa: FBT001 - a table's column
    assert claim.met is met


def test_the_file_says_what_was_measured_where(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    publish("reports", options=Options(quick=True, seed=7, json_file=file), targets=[target(12.5), target(math.nan)])
    said = json.loads(file.read_text())
    assert (said["benchmark"], said["seed"], said["quick"]) == ("reports", 7, True)
    assert said["commit"]
    assert said["machine"]["cores"] >= 1
    assert [each["value"] for each in said["targets"]] == [12.5, None]
    assert said["targets"][0] == {
        "name": "ack p99",
        "unit": "ms",
        "goal": 50,
        "value": 12.5,
        "n": 100,
        "better": "lower",
        "met": True,
    }
