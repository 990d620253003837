"""Detectors: from a run's series to findings, one problem per module.

A detector is a function `(points) -> Finding | None` that looks at the points of the plan in force, oldest first. To
add one: write its module with its thresholds as named constants, list it in `DETECTORS`, add a table test beside the
others. What to do about a finding is not its business: that is `recovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainmaster.core.health.finding import Finding
from trainmaster.core.health.gradient_explosion import gradient_explosion
from trainmaster.core.series import Point

Detector = Callable[[Sequence[Point]], Finding | None]

DETECTORS: tuple[Detector, ...] = (gradient_explosion,)


def examine(points: Sequence[Point]) -> tuple[Finding, ...]:
    """The findings of all detectors."""
    return tuple(finding for detector in DETECTORS if (finding := detector(points)) is not None)


__all__ = ["DETECTORS", "Detector", "Finding", "examine"]
