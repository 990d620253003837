"""What is wrong with something that a person wrote: where, what, and the way out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Severity = Literal["error", "warning"]
ERROR: Final = "error"
WARNING: Final = "warning"

SHOWN_CHARACTERS: Final = 60
"""Of a value in a message: enough to know it again, short enough for one line."""

Location = tuple[str | int, ...]
"""Where a value is in an object: names of fields and indices of lists, from the root."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One judgement on a manifest.

    `file`, `line` and `column` (both from 1; 0 where nothing was read from a file) say where it stands, `path` which
    field it is about, as `spec.env[0].name`. `value` is what was found there, None where nothing was.
    """

    message: str
    """What is wrong, without path and value: `must be greater than 0`."""
    path: str = ""
    value: object = None
    hint: str = ""
    """The way out."""
    severity: Severity = ERROR
    about_name: bool = False
    """Whether the field's name is wrong rather than its value."""
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """All but the place, in one line: `spec.x: must be at least 1 (got 0); the way out`."""
        where = f"{self.path}: " if self.path else ""
        got = "" if self.value is None else f" (got {show(self.value)})"
        way_out = f"; {self.hint}" if self.hint else ""
        return f"{where}{self.message}{got}{way_out}"

    @property
    def is_error(self) -> bool:
        """Whether it makes the manifest unusable."""
        return self.severity == ERROR


def show(value: object) -> str:
    """A value as a message quotes it: JSON, cut where it is long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Those problems that make a manifest unusable."""
    return tuple(problem for problem in problems if problem.is_error)


def refusal(problems: Iterable[Problem]) -> ValidationError:
    """The error that a spec with these problems raises where a plan is made of it; at least one problem."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("refused", "{problem}", {"problem": str(problem)}),
            loc=(problem.path,),
            input=problem.value,
        )
        for problem in problems
    ]
    return ValidationError.from_exception_data("spec", details)


def field_path(location: Location) -> str:
    """A place as people write it: `spec.env[0].name`, `metadata.labels["app.kubernetes.io/name"]`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.replace("_", "").replace("-", "").isalnum():
            path += f".{step}" if path else step
        else:
            path += f"[{json.dumps(step)}]"
    return path
