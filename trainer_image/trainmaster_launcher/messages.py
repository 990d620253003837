"""Lines of the training process as typed values; what is wrong in them is refused here, not by the operator.

One bad metric name in a report would make the operator refuse the whole report for ever.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trainmaster_launcher.errors import LauncherError

PHASES: Final = ("starting", "training", "validating", "checkpointing", "testing", "stopping", "done")
KINDS: Final = ("train", "validation", "test")
GOOD_OUTCOMES: Final = ("Completed", "StoppedEarly")
MAX_METRICS: Final = 64
"""The operator takes no more per point: each becomes a series."""
MAX_APPLIED: Final = 64
"""Directives of one checkpoint that the operator takes; the newest are kept."""
ID_LENGTH: Final = 256
SIGNATURE_LENGTH: Final = 64
"""Characters that the operator takes of a directive's id and of a model's signature."""
METRIC_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-/]{0,99}")
LARGEST_INTEGER: Final = 2**1023
"""Beyond it an integer is no float."""
MESSAGE_LENGTH: Final = 2000
"""Characters of a message that the training process may hand on: status is small."""

WireMetrics = dict[str, float | str]


class LineError(LauncherError):
    """A line that does not follow the protocol."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """The first line of a connection."""

    pid: int
    stack_signal: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where training is."""

    phase: str = "starting"
    step: int = 0
    epoch: int = 0
    total_steps: int | None = None
    total_epochs: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Metrics at a step."""

    kind: str
    generation: int
    step: int
    epoch: int | None
    metrics: WireMetrics

    @property
    def finite(self) -> bool:
        """Whether all its metrics are numbers that can be computed with."""
        return not any(isinstance(value, str) for value in self.metrics.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A complete checkpoint file."""

    path: str
    step: int
    epoch: int
    sha256: str
    size_bytes: int
    clean_steps: int | None = None
    finite: bool | None = None
    applied: tuple[str, ...] = ()
    metrics: WireMetrics = field(default_factory=dict)
    signature: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """As reports have it; what was left out stays out."""
        wire = {
            "path": self.path,
            "step": self.step,
            "epoch": self.epoch,
            "sha256": self.sha256,
            "sizeBytes": self.size_bytes,
        }
        known = {"cleanSteps": self.clean_steps, "finite": self.finite, "signature": self.signature}
        several = {"applied": list(self.applied), "metrics": self.metrics}
        wire |= {name: value for name, value in known.items() if value is not None}
        return wire | {name: value for name, value in several.items() if value}


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageFailed:
    """A checkpoint could not be written."""

    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Intend:
    """The process asks at which step it is to apply a directive."""

    directive: str
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """A directive took effect."""

    directive: str
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """Training is over, well."""

    outcome: str
    reason: str
    message: str = ""
    metrics: WireMetrics = field(default_factory=dict)


Message = Hello | Progress | Point | Checkpoint | StorageFailed | Intend | Applied | Done


def parse_line(data: bytes) -> Message:
    """A line as a value. Raises LineError; what of a line can be kept is kept."""
    try:
        line = json.loads(data)
        return _PARSERS[line["type"]](line)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        message = f"{type(error).__name__}: {error} in {data[:200]!r}"
        raise LineError(message) from error


def _hello(line: Mapping[str, Any]) -> Hello:
    if line["protocol"] != 1:
        message = f"protocol {line['protocol']!r} is not spoken, 1 is"
        raise ValueError(message)
    signal = line.get("stackSignal")
    return Hello(pid=_count(line["pid"]), stack_signal=None if signal is None else _count(signal))


def _progress(line: Mapping[str, Any]) -> Progress:
    return Progress(
        phase=_one_of(line["phase"], PHASES),
        step=_count(line.get("step", 0)),
        epoch=_count(line.get("epoch", 0)),
        total_steps=_optional_count(line.get("totalSteps")),
        total_epochs=_optional_count(line.get("totalEpochs")),
    )


def _point(line: Mapping[str, Any]) -> Point:
    generation = _count(line["generation"])
    if generation < 1:
        raise ValueError("generation counts from 1")
    return Point(
        kind=_one_of(line["kind"], KINDS),
        generation=generation,
        step=_count(line["step"]),
        epoch=_optional_count(line.get("epoch")),
        metrics=clean_metrics(line.get("metrics", {})),
    )


def _checkpoint(line: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(
        path=str(line["path"]),
        step=_count(line["step"]),
        epoch=_count(line["epoch"]),
        sha256=str(line["sha256"]),
        size_bytes=_count(line["sizeBytes"]),
        clean_steps=_optional_count(line.get("cleanSteps")),
        finite=None if line.get("finite") is None else bool(line["finite"]),
        applied=tuple(str(each)[:ID_LENGTH] for each in line.get("applied") or ())[-MAX_APPLIED:],
        metrics=clean_metrics(line.get("metrics") or {}),
        signature=None if line.get("signature") is None else str(line["signature"])[:SIGNATURE_LENGTH],
    )


def _done(line: Mapping[str, Any]) -> Done:
    return Done(
        outcome=_one_of(line.get("outcome", "Completed"), GOOD_OUTCOMES),
        reason=str(line.get("reason") or "Completed"),
        message=str(line.get("message") or "")[:MESSAGE_LENGTH],
        metrics=clean_metrics(line.get("metrics") or {}),
    )


def clean_metrics(metrics: Mapping[str, Any]) -> WireMetrics:
    """The metrics that the operator will take: the first 64 with good names and numbers."""
    clean: WireMetrics = {}
    for name, value in metrics.items():
        number = _number(value)
        if number is not None and METRIC_NAME.fullmatch(name) and len(clean) < MAX_METRICS:
            clean[name] = number
    return clean


def _number(value: object) -> float | str | None:
    if isinstance(value, str):
        return value if value in {"NaN", "Inf", "-Inf"} else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) < LARGEST_INTEGER else None
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        message = f"{value!r} is no count"
        raise ValueError(message)
    return value


def _optional_count(value: object) -> int | None:
    return None if value is None else _count(value)


def _one_of(value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        message = f"{value!r} is none of {', '.join(allowed)}"
        raise ValueError(message)
    return value


_PARSERS: Final[dict[str, Callable[[Mapping[str, Any]], Message]]] = {
    "hello": _hello,
    "progress": _progress,
    "point": _point,
    "checkpoint": _checkpoint,
    "storageFailed": lambda line: StorageFailed(message=str(line.get("message") or "")[:MESSAGE_LENGTH]),
    "intend": lambda line: Intend(directive=str(line["directive"]), step=_count(line["step"])),
    "applied": lambda line: Applied(directive=str(line["directive"]), step=_count(line["step"])),
    "done": _done,
}
