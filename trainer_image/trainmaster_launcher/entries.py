"""Entries of the journal: what happened, with its number within the launch."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

POINT: Final = "point"
ALWAYS_KEPT_KINDS: Final = ("validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing that happened; `seq` 0 means not numbered yet. Field names are the protocol's."""

    type: str
    generation: int
    time: str
    seq: int = 0
    step: int | None = None
    epoch: int | None = None
    kind: str | None = None
    metrics: dict[str, float | str] | None = None
    start: int | None = None
    directive: str | None = None
    checkpoint: dict[str, Any] | None = None
    crash: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[int, str, int] | None:
        """What makes a point the same as another: a replay of the same steps gives the same points."""
        if self.type != POINT or self.step is None:
            return None
        return (self.generation, self.kind or "", self.step)

    @property
    def droppable(self) -> bool:
        """Whether it may be forgotten when there are too many: training points only."""
        return self.type == POINT and self.kind not in ALWAYS_KEPT_KINDS

    @property
    def finite(self) -> bool:
        """Whether no metric of it is NaN or Inf."""
        return not any(isinstance(value, str) for value in (self.metrics or {}).values())

    def to_wire(self) -> dict[str, Any]:
        """JSON data without absent values."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def to_line(self) -> bytes:
        """One line of the journal."""
        return json.dumps(self.to_wire(), separators=(",", ":"), allow_nan=False).encode() + b"\n"


_NAMES: Final = frozenset(each.name for each in fields(Entry))


def parse_entry(wire: dict[str, Any]) -> Entry:
    """An entry from JSON data; unknown names are left out. Raises TypeError where a required one is missing."""
    return Entry(**{name: value for name, value in wire.items() if name in _NAMES})


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC: for display, never for decisions."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    """The wall clock's time."""
    return timestamp(datetime.now(UTC))
