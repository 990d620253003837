"""YAML and JSON text -> plain data, with the place of every value.

PyYAML reads YAML 1.1, where `5e-5` is a string, `no` is false, `010` is eight and `1:30` is ninety. Here scalars mean
what YAML 1.2 (and JSON) says; a plain word that kubectl, which also reads YAML 1.1, would take for something else is
reported with a warning (`yaml_1_1`). Duplicate keys, custom tags, non-finite numbers and `${...}` are refused; anchors,
aliases and merge keys are followed, up to a bound.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trainmaster.adapters.manifests.yaml_1_1 import ambiguity
from trainmaster.api.problems import WARNING, Location, Problem, field_path

MAX_NODES: Final = 20_000
"""Values in one document, after aliases are followed: a manifest has tens; a billion laughs has a billion."""
MAX_DEPTH: Final = 50
"""Levels of nesting: a manifest has five, and the interpreter's stack is finite."""

_PREFIX: Final = "tag:yaml.org,2002:"
_COLLECTIONS: Final = frozenset({f"{_PREFIX}map", f"{_PREFIX}seq"})
_MERGE: Final = f"{_PREFIX}merge"

DUPLICATE_KEY: Final = "stands twice in one mapping"
TEMPLATE: Final = "holds a template `${...}`, which nothing here fills in"
TEMPLATE_HINT: Final = "write the value itself; Flux's substitution would replace it before Trainmaster sees it"


class _Loader(yaml.SafeLoader):
    """PyYAML's composer with the scalars of YAML 1.2's core schema."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+."]),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"{_PREFIX}{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Line and column, from 1, of a field's name and of its value."""

    name: tuple[int, int]
    value: tuple[int, int]


@dataclass(kw_only=True, slots=True)
class Document:
    """One YAML document: its data, where each field of it stands, and what was wrong with the text itself."""

    line: int
    data: Any = None
    places: dict[str, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: str) -> Place:
        """Where a field stands; for an absent one where the nearest field around it stands."""
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places.get(path, Place(name=(self.line, 1), value=(self.line, 1)))


class _RefusedError(Exception):
    """The document cannot be read further."""


def read_documents(text: str) -> Iterator[Document]:
    """Each document of a stream that is not empty; the last has a problem if the text is no YAML from there on."""
    line = 1
    try:
        loader = _Loader(_without_tabs_of_json(text))
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                break
            line = node.start_mark.line + 1
            if not _is_empty(node):
                yield _read(node)
            line = node.end_mark.line + 1
    except yaml.MarkedYAMLError as error:
        yield _broken(error, line=line)
    except yaml.reader.ReaderError as error:
        yield _no_text(text, error=error)
    except RecursionError:
        yield Document(line=line, problems=[_too_deep(line, 1)])


def _no_text(text: str, *, error: yaml.reader.ReaderError) -> Document:
    before = text[: error.position]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    message = f"holds the character U+{ord(text[error.position]):04X}, which YAML does not allow"
    return Document(line=line, problems=[Problem(message=message, line=line, column=column)])


def _without_tabs_of_json(text: str) -> str:
    """JSON may be indented with tabs, YAML may not; within JSON's strings a raw tab cannot stand."""
    if "\t" not in text or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == "" and node.style is None


def _broken(error: yaml.MarkedYAMLError, *, line: int) -> Document:
    mark = error.problem_mark or error.context_mark
    place = (mark.line + 1, mark.column + 1) if mark else (line, 1)
    words = " ".join(part for part in (error.context, error.problem) if part)
    hint = "YAML is indented with spaces, never with tabs" if r"\t" in words else ""
    message = f"is no valid YAML: {words}"
    return Document(line=place[0], problems=[Problem(message=message, hint=hint, line=place[0], column=place[1])])


def _too_deep(line: int, column: int) -> Problem:
    return Problem(message=f"is nested deeper than {MAX_DEPTH} levels", line=line, column=column)


def _read(node: Node) -> Document:
    document = Document(line=node.start_mark.line + 1)
    reader = _Reader(document)
    try:
        document.data = reader.value(node, at=())
    except _RefusedError:
        document.data = None
    return document


class _Reader:
    """Turns the nodes of one document into data."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0

    def value(self, node: Node, *, at: Location) -> object:
        """The data below a node; its problems and places go to the document."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._report(node, Problem(path="", message=f"holds more than {MAX_NODES:,} values, aliases counted"))
            raise _RefusedError
        if len(at) > MAX_DEPTH:
            self._document.problems.append(_too_deep(*_position(node)))
            raise _RefusedError
        if not isinstance(node, ScalarNode) and node.tag not in _COLLECTIONS:
            self._refuse_tag(node, at=at)
        if isinstance(node, MappingNode):
            return self._mapping(node, at=at)
        if isinstance(node, SequenceNode):
            return [self._item(item, at=(*at, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, at=at)
        raise _RefusedError

    def _item(self, node: Node, *, at: Location) -> object:
        self._document.places[field_path(at)] = Place(name=_position(node), value=_position(node))
        return self.value(node, at=at)

    def _mapping(self, node: MappingNode, *, at: Location) -> dict[str, object]:
        """What `<<` brings in first, so that the mapping's own fields win in data and in places."""
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged = {**self._merged(value_node, at=at), **merged}
        own: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = None if key_node.tag == _MERGE else self._key(key_node, at=at)
            if key is None:
                continue
            here = (*at, key)
            if key in own:
                self._report(
                    key_node,
                    Problem(path=field_path(here), message=DUPLICATE_KEY, hint="keep one of them", about_name=True),
                )
                continue
            self._document.places[field_path(here)] = Place(name=_position(key_node), value=_position(value_node))
            own[key] = self.value(value_node, at=here)
        return {**merged, **own}

    def _merged(self, node: Node, *, at: Location) -> dict[str, object]:
        """What `<<` brings in; what the mapping itself says wins, then what was merged first."""
        value = self.value(node, at=at)
        sources = value if isinstance(value, list) else [value]
        result: dict[str, object] = {}
        for source in sources:
            if not isinstance(source, dict):
                self._report(
                    node, Problem(path=field_path(at), message="merges something that is no mapping with `<<`")
                )
                continue
            result = {**source, **result}
        return result

    def _key(self, node: Node, *, at: Location) -> str | None:
        if not isinstance(node, ScalarNode):
            self._report(node, Problem(path=field_path(at), message="has a name that is no plain text"))
            return None
        here = (*at, str(node.value))
        self._refuse_templates(node, at=here)
        self._warn_of_yaml_1_1(node, at=here, about_name=True)
        return str(node.value)

    def _scalar(self, node: ScalarNode, *, at: Location) -> object:
        text = str(node.value)
        self._refuse_templates(node, at=at)
        kind = node.tag.removeprefix(_PREFIX)
        if kind == "str":
            self._warn_of_yaml_1_1(node, at=at)
            return self._text(node, at=at)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in {"int", "float"}:
            return self._number(node, at=at)
        self._refuse_tag(node, at=at)
        return None

    def _number(self, node: ScalarNode, *, at: Location) -> object:
        text = str(node.value)
        try:
            number = int(text, 0 if text[:2] in {"0o", "0x"} else 10) if node.tag.endswith("int") else float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self._report(node, Problem(path=field_path(at), value=text, message="must be a finite number"))
            return 0
        self._warn_of_yaml_1_1(node, at=at)
        return number

    def _text(self, node: Node, *, at: Location) -> str:
        """Text with the surrogate pairs of JSON's escapes joined."""
        try:
            return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._report(node, Problem(path=field_path(at), message="holds half of a surrogate pair"))
            return ""

    def _refuse_tag(self, node: Node, *, at: Location) -> None:
        message = f"has the tag {node.tag}, which no manifest needs"
        self._report(node, Problem(path=field_path(at), message=message, hint="remove the tag"))

    def _refuse_templates(self, node: Node, *, at: Location) -> None:
        if "${" in node.value:
            self._report(node, Problem(path=field_path(at), value=node.value, message=TEMPLATE, hint=TEMPLATE_HINT))

    def _warn_of_yaml_1_1(self, node: ScalarNode, *, at: Location, about_name: bool = False) -> None:
        found = ambiguity(node.value) if node.style is None else None
        if found is not None:
            problem = Problem(
                path=field_path(at),
                value=str(node.value),
                message=found.message,
                hint=found.hint,
                severity=WARNING,
                about_name=about_name,
            )
            self._report(node, problem)

    def _report(self, node: Node, problem: Problem) -> None:
        line, column = _position(node)
        self._document.problems.append(dataclasses.replace(problem, line=line, column=column))


def _position(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
