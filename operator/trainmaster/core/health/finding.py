"""One detector's verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A problem, how bad it is, and the numbers that show it."""

    problem: str
    """Its name in the spec: `gradient-explosion`."""
    reason: str
    """Its CamelCase name in conditions and decisions."""
    severity: Literal["warning", "critical"]
    step: int
    """Where it was seen."""
    evidence: str
    """In words, with the numbers."""
