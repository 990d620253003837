"""Hyperparameters of a plan, judged once more where they are used: an operator may be older than its trainer."""

from __future__ import annotations

from pydantic import ValidationError

from trainmaster.api.hyperparameters import CATALOGUE, PLANNED, Scalar, effective
from trainmaster_trainer.errors import ConfigurationError


def checked_hyperparameters(workload: str, *, given: dict[str, Scalar]) -> dict[str, Scalar]:
    """All hyperparameters. Raises ConfigurationError that names each one that does not fit, and why."""
    try:
        return effective(workload, given)
    except ValidationError as error:
        problems = "; ".join(
            _problem(
                workload, name=".".join(str(part) for part in each["loc"]), message=each["msg"], value=each["input"]
            )
            for each in error.errors()
        )
        raise ConfigurationError(problems) from None


def _problem(workload: str, *, name: str, message: str, value: object) -> str:
    if not name:
        return f"hyperparameters: {message}"
    if name in PLANNED[workload]:
        return f"hyperparameters.{name}: this version has no code for it yet; leave it out"
    if name not in CATALOGUE[workload].model_fields:
        known = ", ".join(CATALOGUE[workload].model_fields)
        return f"hyperparameters.{name}: {workload} has no such hyperparameter (it has: {known})"
    return f"hyperparameters.{name}: {message}, got {value!r}"
