"""Flux' evaluation of `healthCheckExprs`, by a real CEL implementation.

The order is that of fluxcd/pkg `runtime/cel/status_evaluator.go` (RFC 0009): a generation that is not observed yet is
in progress; then inProgress, failed, current; if none is true the object is in progress. An expression that cannot be
evaluated is an error, and Flux waits until its timeout.
"""

from __future__ import annotations

from typing import Any, Literal

import celpy
from celpy.adapter import json_to_cel
from celpy.celtypes import BoolType

Wire = dict[str, Any]
Health = Literal["InProgress", "Failed", "Current"]
ORDER: tuple[tuple[str, Health], ...] = (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current"))


def holds(expression: str, wire: Wire) -> bool:
    """Whether an expression is true for an object, whose fields are its variables.

    Raises:
        celpy.evaluation.CELEvalError: It cannot be evaluated, for example because a field is missing.
    """
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    result = program.evaluate({name: json_to_cel(value) for name, value in wire.items()})
    assert isinstance(result, BoolType | bool), f"{expression!r} is no yes or no: {result!r}"
    return bool(result)


def flux_health(expressions: dict[str, str], wire: Wire) -> Health:
    """What a Kustomization with these expressions makes of an object."""
    observed = wire.get("status", {}).get("observedGeneration")
    if observed is not None and observed != wire["metadata"].get("generation", observed):
        return "InProgress"
    for name, health in ORDER:
        if name in expressions and holds(expressions[name], wire):
            return health
    return "InProgress"
