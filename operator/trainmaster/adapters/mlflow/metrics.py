"""How points become MLflow metrics: names, marker, non-finite values. Pure.

A validation point keeps its metrics' names (`val_loss`); those of train and test points get the prefix `train/` and
`test/`. MLflow's step is the point's step, its timestamp the point's time: the same point always gives the same rows,
and MLflow stores a row (run, key, timestamp, step, value) once.

Beside the metrics of a point stand up to three of ours, with the same prefix:

- `generation`, the marker: the plan that was in force. A point is in the history if and only if its marker is.
- `epoch`, where the point has one.
- `nonfinite_values`, where there are any: NaN is stored as NaN, but MLflow would store an infinity as 1.797e308, which
  every mean and every axis takes for a number. So infinities are left out, and counted here with the NaNs.

A metric that has one of these names, or starts with a prefix of ours, gets the prefix `metrics/`: no two collide.
"""

from __future__ import annotations

import math
import posixpath
from datetime import UTC, datetime
from typing import Final

from trainmaster.core.series import Point

MARKER: Final = "generation"
EPOCH: Final = "epoch"
NONFINITE: Final = "nonfinite_values"
PREFIXES: Final = {"train": "train/", "validation": "", "test": "test/"}
OWN_PREFIX: Final = "metrics/"


def marker_key(kind: str) -> str:
    """The metric that tells which points of a kind are in the history."""
    return PREFIXES[kind] + MARKER


def metrics_of(point: Point) -> dict[str, float]:
    """The MLflow metrics of a point, by key; the marker comes last."""
    prefix = PREFIXES[point.kind]
    metrics = {prefix + _name(name): value for name, value in point.metrics.items() if not math.isinf(value)}
    nonfinite = sum(not math.isfinite(value) for value in point.metrics.values())
    if nonfinite:
        metrics[prefix + NONFINITE] = float(nonfinite)
    if point.epoch is not None:
        metrics[prefix + EPOCH] = float(point.epoch)
    metrics[marker_key(point.kind)] = float(point.generation)
    return metrics


def milliseconds(time: datetime) -> int:
    """Milliseconds since 1970, as MLflow counts; it refuses negative ones, which a clock that jumps can give."""
    return max(0, round(time.astimezone(UTC).timestamp() * 1000))


def _name(name: str) -> str:
    if name in (MARKER, EPOCH, NONFINITE) or name.startswith((*filter(None, PREFIXES.values()), OWN_PREFIX)):
        name = OWN_PREFIX + name
    # MLflow takes keys for paths and refuses `a//b`, `a/../b` and `a/`.
    return name if posixpath.normpath(name) == name else name.replace("/", "_")
