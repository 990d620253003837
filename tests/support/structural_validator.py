"""As much of the API server's schema validation as our CRDs use: types, bounds, required and unknown fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Json = Any
"""An object of the API, valid or not."""

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def violations(schema: dict[str, Any], value: Json, path: str = "") -> Iterator[str]:
    """What the API server would refuse, strict about unknown fields; nulls are expected to be dropped before."""
    kind = schema.get("type")
    if kind is None:
        return
    if not _is(kind, value):
        yield f"{path}: is no {kind}: {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    size = len(value) if isinstance(value, str | list | dict) else value
    low, high = ("minimum", "maximum") if isinstance(value, int | float) else ("", f"max{_noun(value)}")
    if low in schema and (size < schema[low] or (schema.get("exclusiveMinimum") and size == schema[low])):
        yield f"{path}: {value!r} is below {schema[low]}"
    if high in schema and (size > schema[high] or (schema.get("exclusiveMaximum") and size == schema[high])):
        yield f"{path}: {value!r} is above {schema[high]}"
    for index, item in enumerate(value if kind == "array" else ()):
        yield from violations(schema["items"], item, f"{path}[{index}]")
    if kind == "object":
        yield from _fields(schema, value, path)


def _is(kind: str, value: object) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _noun(value: str | list[Json] | dict[str, Json]) -> str:
    if isinstance(value, str):
        return "Length"
    return "Items" if isinstance(value, list) else "Properties"


def _fields(schema: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[str]:
    known = schema.get("properties")
    yield from (f"{path}.{name}: is required" for name in schema.get("required", ()) if name not in value)
    for name, item in value.items():
        if known is not None and name in known:
            yield from violations(known[name], item, f"{path}.{name}")
        elif "additionalProperties" in schema:
            yield from violations(schema["additionalProperties"], item, f"{path}.{name}")
        elif known is not None:
            yield f"{path}.{name}: is unknown"
