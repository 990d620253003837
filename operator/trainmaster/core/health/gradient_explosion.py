"""Gradient explosion: the norm before clipping is huge or not finite (REQUIREMENTS P1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from trainmaster.api.conditions import Reason
from trainmaster.core.health.finding import Finding
from trainmaster.core.series import Point

WARNING_NORM = 100.0
CRITICAL_NORM = 200.0
"""Thresholds of the source (P1); absolute, hence meaningful for unscaled norms before clipping only."""
WINDOW = 3
"""Points looked at: an explosion that is over for so many points is history."""
METRIC_NAMES = ("grad_norm", "grad.norm")
"""Our name and the source's (R8)."""


def gradient_explosion(points: Sequence[Point]) -> Finding | None:
    """The worst gradient norm among the newest points, if it is beyond a threshold."""
    # From the newest back: what is older than the window is not even looked at, however long the series is.
    told = ((norm, point) for point in reversed(points) if (norm := _norm(point)) is not None)
    seen = list(islice(told, WINDOW))[::-1]
    if not seen:
        return None
    norm, point = max(seen, key=lambda pair: _rank(pair[0]))
    if _rank(norm) <= WARNING_NORM:
        return None
    critical = _rank(norm) > CRITICAL_NORM
    limit = CRITICAL_NORM if critical else WARNING_NORM
    return Finding(
        problem="gradient-explosion",
        reason=Reason.GRADIENT_EXPLOSION,
        severity="critical" if critical else "warning",
        step=point.step,
        evidence=f"gradient norm {norm:.4g} at step {point.step}, above {limit:g}",
    )


def _norm(point: Point) -> float | None:
    for name in METRIC_NAMES:
        if name in point.metrics:
            return point.metrics[name]
    return None


def _rank(norm: float) -> float:
    """What is not finite ranks above everything; no comparison with NaN would be true."""
    return norm if math.isfinite(norm) else math.inf
