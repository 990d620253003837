"""Corrections as absolute targets: applying one twice gives what applying it once gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainmaster.api.hyperparameters import Scalar, is_adjustable
from trainmaster.core.health.finding import Finding

LEARNING_RATE_FACTOR = 0.5
"""P1's correction: half the learning rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """One hyperparameter's old and new value."""

    parameter: str
    old: float
    new: float

    def __str__(self) -> str:
        return f"{self.parameter} {self.old:g} -> {self.new:g}"


RULES: dict[str, tuple[tuple[str, float], ...]] = {"gradient-explosion": (("learning_rate", LEARNING_RATE_FACTOR),)}
"""By problem: which hyperparameters are multiplied, and by what."""


def corrections_for(
    finding: Finding, *, workload: str, given: Mapping[str, Scalar], current: Mapping[str, str]
) -> tuple[Correction, ...]:
    """The corrections for a critical finding: absolute, from the values in force; none where nothing is adjustable."""
    if finding.severity != "critical":
        return ()
    found = []
    for parameter, factor in RULES.get(finding.problem, ()):
        if parameter in current and is_adjustable(workload, name=parameter, given=dict(given)):
            old = float(current[parameter])
            found.append(Correction(parameter=parameter, old=old, new=old * factor))
    return tuple(found)
