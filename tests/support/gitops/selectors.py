"""Argo Workflows' evaluation of `successCondition` and `failureCondition` of a resource step.

They are label selectors of Kubernetes whose keys are paths into the object (argo-workflows `workflow/executor/
resource.go`, `matchConditions`): the step fails as soon as one part of failureCondition matches, and succeeds when all
parts of successCondition do; failure is asked first. A key must be one that `labels.Parse` takes: so no filters, no
indices in brackets, and a condition in a list cannot be named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Wire = dict[str, Any]
Verdict = Literal["Waits", "Succeeded", "Failed"]

KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""The name part of a label's key; a prefix with a slash is of no use in a path."""
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
PART = re.compile(
    r"\s*(?P<key>[^\s=!,()]+)\s*(?P<operator>==|=|!=|\bin\b|\bnotin\b)\s*(?P<rest>\([^)]*\)|[^\s,()]*)\s*"
)


class SelectorError(ValueError):
    """Kubernetes would not parse this selector."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One part of a selector."""

    key: str
    among: frozenset[str]
    wanted: bool

    def matches(self, wire: Wire) -> bool:
        """Whether it holds; what is absent is like none of the values."""
        found = _text_at(wire, self.key)
        return (found is not None and found in self.among) is self.wanted


def parse(selector: str) -> tuple[Requirement, ...]:
    """The parts of a selector.

    Raises:
        SelectorError: It is none.
    """
    parts, at = [], 0
    while at < len(selector):
        found = PART.match(selector, at)
        if found is None or selector[found.end() : found.end() + 1] not in {"", ","}:
            raise SelectorError(selector)
        parts.append(_requirement(found))
        at = found.end() + 1
    if not parts:
        raise SelectorError(selector)
    return tuple(parts)


def _requirement(found: re.Match[str]) -> Requirement:
    key, operator, rest = found["key"], found["operator"], found["rest"]
    values = [value.strip() for value in rest.strip("()").split(",")]
    sets = operator in {"in", "notin"}
    if not KEY.fullmatch(key) or sets != rest.startswith("(") or not all(VALUE.fullmatch(value) for value in values):
        raise SelectorError(found.group())
    return Requirement(key=key, among=frozenset(values), wanted=operator in {"=", "==", "in"})


def verdict(wire: Wire, *, success: str, failure: str) -> Verdict:
    """What becomes of a step that looks at this object."""
    if any(part.matches(wire) for part in parse(failure)):
        return "Failed"
    return "Succeeded" if all(part.matches(wire) for part in parse(success)) else "Waits"


def _text_at(wire: Wire, path: str) -> str | None:
    """The value at a path of names as text, as gjson gives it; None if it is not there."""
    node: Any = wire
    for name in path.split("."):
        if not isinstance(node, dict) or name not in node:
            return None
        node = node[name]
    return str(node).lower() if isinstance(node, bool) else str(node)
