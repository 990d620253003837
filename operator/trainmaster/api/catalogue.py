"""The catalogue of hyperparameters and presets as data: what a form, a table or a page tells of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from trainmaster.api.hyperparameters import ADJUSTABLE, ALIASES, CATALOGUE, REASONS, SCHEDULABLE, Scalar
from trainmaster.api.presets import PARTS, PRESETS, Part

Kind = Literal["integer", "number", "boolean", "choice"]

_KINDS: Final[Mapping[Any, Kind]] = {int: "integer", float: "number", bool: "boolean"}
_LIMITS: Final = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "greater than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("multipleOf", "a multiple of {}"),
    ("maxLength", "at most {} characters"),
    ("maxItems", "at most {} entries"),
    ("maxProperties", "at most {} entries"),
)
"""Keys of a JSON schema, and how people say them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameter:
    """One hyperparameter: all that is known of it."""

    name: str
    kind: Kind
    default: Scalar
    choices: tuple[str, ...]
    """For kind `choice`: the values that it takes."""
    limits: Mapping[str, float]
    """By key of a JSON schema: `minimum`, `exclusiveMinimum`, `maximum`, `exclusiveMaximum`, `multipleOf`."""
    effect: str
    reason: str
    """Why the default is what it is."""
    other_names: tuple[str, ...]
    correctable: bool
    """Whether a directive may set it while the process lives."""
    schedulable: bool
    """Whether `spec.parameterSchedules` may move it."""

    @property
    def range(self) -> str:
        """The values that it takes, in words."""
        if self.kind == "choice":
            return " or ".join(self.choices)
        return "true or false" if self.kind == "boolean" else limit_words(self.limits)

    def to_data(self) -> dict[str, Any]:
        """As JSON-ready data, camelCase."""
        return {
            "name": self.name,
            "type": self.kind,
            "default": self.default,
            "choices": list(self.choices),
            **self.limits,
            "range": self.range,
            "effect": self.effect,
            "reason": self.reason,
            "otherNames": list(self.other_names),
            "correctable": self.correctable,
            "schedulable": self.schedulable,
        }


def hyperparameters_of(workload: str) -> tuple[Hyperparameter, ...]:
    """All hyperparameters of a workload, in the order of its model; none where its program takes any name."""
    model = CATALOGUE[workload]
    schema: dict[str, Any] = model.model_json_schema().get("properties", {})
    return tuple(
        _described(workload, name=name, field=field, schema=schema[name]) for name, field in model.model_fields.items()
    )


def _described(workload: str, *, name: str, field: FieldInfo, schema: Mapping[str, Any]) -> Hyperparameter:
    is_choice = get_origin(field.annotation) is Literal
    return Hyperparameter(
        name=name,
        kind="choice" if is_choice else _KINDS[field.annotation],
        default=field.default,
        choices=get_args(field.annotation) if is_choice else (),
        limits={key: schema[key] for key, _ in _LIMITS if key in schema},
        effect=field.description or "",
        reason=REASONS[workload].get(name, ""),
        other_names=tuple(other for other, meant in ALIASES[workload].items() if meant == name),
        correctable=name in ADJUSTABLE[workload],
        schedulable=name in SCHEDULABLE[workload],
    )


def knob_limits(workload: str) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value that each schedulable hyperparameter may have while it moves.

    A value that it only comes near to, such as a dropout of 1, is left out by the smallest step of a double; 0 is not:
    schedules of a learning rate end there.
    """
    found = {}
    for each in hyperparameters_of(workload):
        if each.schedulable:
            low = each.limits.get("minimum", each.limits.get("exclusiveMinimum", -math.inf))
            high = each.limits.get("maximum", math.inf)
            if "exclusiveMaximum" in each.limits:
                high = math.nextafter(each.limits["exclusiveMaximum"], -math.inf)
            found[each.name] = (float(low), float(high))
    return found


def presets_of(workload: str) -> Iterator[tuple[Part, dict[str, Any]]]:
    """All presets of a workload, by part, as JSON-ready data."""
    for part in PARTS:
        for preset in PRESETS[workload][part].values():
            yield (
                part,
                {
                    "part": part,
                    "name": preset.name,
                    "purpose": preset.purpose,
                    "cost": preset.cost,
                    "hyperparameters": {
                        name: {"value": choice.value, "reason": choice.reason}
                        for name, choice in preset.choices.items()
                    },
                },
            )


def limit_words(schema: Mapping[str, Any]) -> str:
    """The limits in a JSON schema, as people say them: `at least 1, at most 65,536`."""
    return ", ".join(words.format(_number(schema[key])) for key, words in _LIMITS if key in schema)


def _number(value: float) -> str:
    """With commas; a float that is whole without its point, as long as that is short."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _MANY:
        return f"{int(value):,}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


_MANY: Final = 1e6
"""From here on a float is written with an exponent."""
