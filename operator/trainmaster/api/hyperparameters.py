"""What each workload understands as hyperparameters: names, types, ranges, defaults and their reasons.

The catalogue is a pydantic model per workload. A manifest names some values; the rest are defaults; what results is
frozen in the plan. Names that REQUIREMENTS knows but this version has no code for are listed in `PLANNED`, so that
they are refused by name instead of being taken for a misspelling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from trainmaster.api.market_hyperparameters import ALIASES as MARKET_ALIASES
from trainmaster.api.market_hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.market_reasons import MARKET_REASONS

__all__ = [
    "ADJUSTABLE",
    "ALIASES",
    "CATALOGUE",
    "PLANNED",
    "REASONS",
    "SCHEDULABLE",
    "CustomHyperparameters",
    "MarketClassifierHyperparameters",
    "Scalar",
    "effective",
    "is_adjustable",
]

Scalar = int | float | str | bool


class CustomHyperparameters(BaseModel):
    """Hyperparameters of the workload `custom`: whatever the foreign code reads from its plan."""

    model_config = ConfigDict(frozen=True, extra="allow")


CATALOGUE: dict[str, type[BaseModel]] = {
    "market-classifier": MarketClassifierHyperparameters,
    "custom": CustomHyperparameters,
}

ALIASES: Final[Mapping[str, Mapping[str, str]]] = {"market-classifier": MARKET_ALIASES, "custom": {}}
"""By workload: other names of hyperparameters, and what they are called in results."""

REASONS: Final[Mapping[str, Mapping[str, str]]] = {"market-classifier": MARKET_REASONS, "custom": {}}
"""By workload and name: why the default is what it is."""

PLANNED: dict[str, frozenset[str]] = {"market-classifier": frozenset(), "custom": frozenset()}

ADJUSTABLE: dict[str, frozenset[str]] = {"market-classifier": frozenset({"learning_rate"}), "custom": frozenset()}
"""Hyperparameters that a directive may set in a living process; `custom` takes any number that its manifest names."""

SCHEDULABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "market-classifier": (
        "learning_rate",
        "weight_decay",
        "dropout",
        "label_smoothing",
        "focal_gamma",
        "gaussian_noise_std",
        "max_grad_norm",
    ),
    "custom": (),
}
"""By workload: hyperparameters that `spec.parameterSchedules` may move over the training."""


def effective(workload: str, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """All hyperparameters of a workload: the given values over the defaults, typed.

    `"5e-5"` and `5e-5` mean the same. Raises pydantic's ValidationError on names and values that do not fit.
    """
    model: Any = CATALOGUE[workload].model_validate(given)
    values: dict[str, Scalar] = model.model_dump()
    return values


def is_adjustable(workload: str, *, name: str, given: dict[str, Scalar]) -> bool:
    """Whether a directive may set this hyperparameter while the process lives."""
    if workload == "custom":
        return _is_number(given.get(name))
    return name in ADJUSTABLE[workload]


def _is_number(value: Scalar | None) -> bool:
    """Whether a value is a finite number, or a string that says one: `5e-5` is a string to YAML."""
    if value is None or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
