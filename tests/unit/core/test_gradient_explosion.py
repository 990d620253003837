from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.support.runs import point_of
from trainmaster.core.health import examine
from trainmaster.core.health.gradient_explosion import CRITICAL_NORM, WARNING_NORM, WINDOW, gradient_explosion
from trainmaster.core.series import Point

JUST_ABOVE = math.nextafter


@pytest.mark.parametrize(
    ("norm", "severity"),
    [
        (0.0, None),
        (WARNING_NORM, None),
        (JUST_ABOVE(WARNING_NORM, math.inf), "warning"),
        (CRITICAL_NORM, "warning"),
        (JUST_ABOVE(CRITICAL_NORM, math.inf), "critical"),
        (1e308, "critical"),
        (math.inf, "critical"),
        (-math.inf, "critical"),
        (math.nan, "critical"),
    ],
)
@pytest.mark.parametrize("name", ["grad_norm", "grad.norm"])
def test_a_norm_is_judged_by_two_thresholds(*, name: str, norm: float, severity: str | None) -> None:
    finding = gradient_explosion([replace(point_of(7), metrics={name: norm})])
    assert (finding.severity if finding else None) == severity
    assert finding is None or (finding.problem, finding.step) == ("gradient-explosion", 7)


@pytest.mark.parametrize("points", [[], [point_of(1, loss=math.nan)]])
def test_without_norms_there_is_nothing_to_say(points: list[Point]) -> None:
    assert gradient_explosion(points) is None


def test_bad_values_leave_no_trace_once_they_are_over() -> None:
    """NaN, Inf and 0, then healthy values: the detector behaves as if it had never seen them."""
    bad = [point_of(step, grad_norm=norm) for step, norm in enumerate([math.nan, math.inf, 0.0])]
    healthy = [point_of(3 + step, grad_norm=1.0) for step in range(200)]
    for seen in range(WINDOW):
        finding = gradient_explosion([*bad[:2], *healthy[:seen]])
        assert (finding is not None) == (seen < WINDOW)
    for seen in range(WINDOW, 200):
        assert gradient_explosion([*bad, *healthy[:seen]]) == gradient_explosion(healthy[:seen]) is None


def test_the_worst_of_the_newest_is_shown_with_its_numbers() -> None:
    points = [point_of(step, grad_norm=norm) for step, norm in enumerate([9e9, 300.0, 250.0, 120.0])]
    finding = gradient_explosion(points)
    assert finding is not None
    assert (finding.step, finding.evidence) == (1, "gradient norm 300 at step 1, above 200")


def test_what_is_not_finite_is_worse_than_any_number() -> None:
    finding = gradient_explosion([point_of(1, grad_norm=math.nan), point_of(2, grad_norm=1e300)])
    assert finding is not None
    assert (finding.step, finding.severity) == (1, "critical")


def test_points_without_a_norm_do_not_push_others_out_of_the_window() -> None:
    points = [point_of(1, grad_norm=500.0), *(point_of(step, loss=1.0) for step in range(2, 50))]
    assert [f.problem for f in examine(points)] == ["gradient-explosion"]
