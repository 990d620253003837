"""Points of a run's series, as detectors see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Metrics at one step of one plan generation; values may be NaN or infinite."""

    generation: int
    kind: str
    """`train`, `validation` or `test`."""
    step: int
    time: datetime
    """The trainer's clock: for display."""
    epoch: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
