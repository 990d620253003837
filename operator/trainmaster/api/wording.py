"""pydantic's errors in the words of the person who wrote the manifest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final

from pydantic_core import ErrorDetails

from trainmaster.api.parameter_schedules import NUMBER_PATTERN
from trainmaster.api.trainingrun import (
    CHECKPOINTS_PATTERN,
    FILE_PATTERN,
    IMAGE_PATTERN,
    MEMORY_PATTERN,
    NAME_PATTERN,
    PRESET_PATTERN,
    RESOURCE_PATTERN,
    SOURCE_PATTERN,
)

NEAR_ENOUGH: Final = 0.6
"""Similarity (difflib's ratio) from which a name counts as a misspelling: one slip in three letters is 0.67."""

_PATTERNS: Final = {
    SOURCE_PATTERN: (
        "must look like package://DISTRIBUTION/PATH, pvc://CLAIM/PATH or synthetic://NAME?key=value&key=value",
        "letters, digits, `.`, `_` and `-` in each part; other sources have no code in this version",
    ),
    FILE_PATTERN: ("must look like package://DISTRIBUTION/PATH or pvc://CLAIM/PATH", ""),
    CHECKPOINTS_PATTERN: (
        "must look like pvc://CLAIM, s3://BUCKET or gs://BUCKET, with or without a /PATH behind it",
        "names of claims and buckets are in lower case",
    ),
    IMAGE_PATTERN: (
        "must be the name of an image",
        "for example python:3.11-slim, or registry.example/team/image@sha256:...",
    ),
    MEMORY_PATTERN: ("must be a number of bytes with a unit", "for example 16Gi or 512Mi"),
    RESOURCE_PATTERN: ("must be the name of a resource, with its domain", "for example nvidia.com/gpu"),
    NAME_PATTERN: ("must be the name of an object", "lower case letters, digits, `-` and `.`"),
    PRESET_PATTERN: ("must be the name of a preset", "letters, digits, `-` and `_`"),
    NUMBER_PATTERN: ("must be a number of 0 or more, in quotes", 'for example "0.001" or "5e-5"'),
    r"^[A-Za-z_][A-Za-z0-9_]*$": (
        "must be the name of an environment variable",
        "letters, digits and `_`, not starting with a digit",
    ),
    r"^[A-Za-z0-9._-]*$": ("must consist of letters, digits, `.`, `_` and `-`", ""),
}

_UNQUOTE: Final = "write it without quotes"
_MESSAGES: Final[dict[str, tuple[str, str]]] = {
    "missing": ("is required", ""),
    "int_type": ("must be a whole number", _UNQUOTE),
    "int_parsing": ("must be a whole number", ""),
    "int_parsing_size": ("must be a whole number of at most 4,300 digits", ""),
    "int_from_float": ("must be a whole number", ""),
    "float_type": ("must be a number", _UNQUOTE),
    "float_parsing": ("must be a number", ""),
    "finite_number": ("must be a finite number", ""),
    "bool_type": ("must be true or false", ""),
    "bool_parsing": ("must be true or false", ""),
    "string_type": ("must be a string", "put it in quotes"),
    "dict_type": ("must be a mapping of names to values", ""),
    "model_type": ("must be a mapping of names to values", ""),
    "model_attributes_type": ("must be a mapping of names to values", ""),
    "tuple_type": ("must be a list", "one item a line, each after `- `"),
    "list_type": ("must be a list", "one item a line, each after `- `"),
    "greater_than": ("must be greater than {gt}", ""),
    "greater_than_equal": ("must be at least {ge}", ""),
    "less_than": ("must be less than {lt}", ""),
    "less_than_equal": ("must be at most {le}", ""),
    "multiple_of": ("must be a multiple of {multiple_of}", ""),
    "string_too_long": ("must have at most {max_length} characters", ""),
    "too_long": ("must have at most {max_length} entries; there are {actual_length}", ""),
    "literal_error": ("must be {expected}", ""),
}
_CONTAINERS: Final = frozenset({"dict_type", "model_type", "model_attributes_type", "tuple_type", "list_type"})


def explain(error: ErrorDetails) -> tuple[str, str]:
    """Message and hint of one pydantic error, without the value."""
    context: dict[str, Any] = {key: _short(value) for key, value in error.get("ctx", {}).items()}
    kind = error["type"]
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], (f"must match {context['pattern']}", ""))
    message, hint = _MESSAGES.get(kind, (error["msg"][:1].lower() + error["msg"][1:], ""))
    given = error.get("input")
    if hint == _UNQUOTE and not (isinstance(given, str) and _is_number(given)):
        hint = ""
    if kind == "string_type" and isinstance(given, dict | list):
        hint = ""
    if kind == "bool_type" and isinstance(given, str):
        hint = "without quotes; YAML 1.2 takes yes, no, on and off for words"
    if kind == "literal_error":
        hint = _did_you_mean(str(given), context["expected"])
    return message.format_map(context), hint


def _short(value: object) -> object:
    """A bound as people write it: 0, not 0.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _did_you_mean(given: str, expected: str) -> str:
    """`expected` is pydantic's list: `'a', 'b' or 'c'`."""
    near = nearest(given, expected.split("'")[1::2])
    return f'did you mean "{near}"?' if near else ""


def fold(name: str) -> str:
    """A name without what people vary: case, `_` and `-`."""
    return name.replace("_", "").replace("-", "").lower()


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of these names that was probably meant; None when none is near."""
    by_fold = {fold(candidate): candidate for candidate in sorted(names)}
    by_initials = {"".join(word[:1] for word in candidate.split("_")): candidate for candidate in by_fold.values()}
    if len(name) > 1 and name in by_initials:  # lr, wd
        return by_initials[name]
    near = difflib.get_close_matches(fold(name), list(by_fold), n=1, cutoff=NEAR_ENOUGH)
    return by_fold[near[0]] if near else None
