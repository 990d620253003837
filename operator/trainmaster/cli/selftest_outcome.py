"""How one check of `trainmaster selftest` went."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """A check's name, whether it passed, what it found, and how long it took."""

    name: str
    passed: bool
    detail: str
    seconds: float
