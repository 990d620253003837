"""The two bases of all models, and the scalar types that Kubernetes and JSON cannot say by themselves."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A part of an object that a user writes: frozen, camelCase outside, unknown names refused.

    An operator that reads what a newer version stored passes `extra="ignore"` to `model_validate`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def to_wire(self) -> dict[str, Any]:
        """The model as JSON-ready data: camelCase, without absent values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class OpenModel(ApiModel):
    """A part of status or protocol: unknown names are kept and written back as they came.

    A newer version may have written them; a round trip through this one must not lose them.
    """

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)


NON_FINITE = {"NaN": math.nan, "Inf": math.inf, "-Inf": -math.inf}


def wire_number(value: float) -> float | str:
    """A float as JSON can carry it: non-finite values become "NaN", "Inf" and "-Inf"."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return value


def _from_wire(value: object) -> object:
    return NON_FINITE.get(value, value) if isinstance(value, str) else value


WireFloat = Annotated[
    float,
    BeforeValidator(_from_wire, json_schema_input_type=float | str),
    PlainSerializer(wire_number, return_type=float | str),
]
"""A float that may be non-finite; a number in JSON, or one of "NaN", "Inf", "-Inf"."""


def decimal_string(value: float, *, digits: int = 6) -> str:
    """A number as status carries it: typed fields hold no floats, so that writers never disagree about digits."""
    number = wire_number(value)
    return number if isinstance(number, str) else f"{number:.{digits}g}"


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        message = f"time {value.isoformat()} has no zone; write it in UTC, with a final Z"
        raise ValueError(message)
    return value.astimezone(UTC)


def _rfc3339(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if value.microsecond else value.strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[datetime, AfterValidator(_to_utc), PlainSerializer(_rfc3339, return_type=str)]
"""A moment in UTC; RFC 3339 with a final Z in JSON."""
