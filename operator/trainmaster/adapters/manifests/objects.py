"""One object as a manifest gives it: kind, metadata, spec; judged as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from trainmaster.api.labels import API_VERSION
from trainmaster.api.objects import ObjectMeta
from trainmaster.api.problems import WARNING, Problem, field_path
from trainmaster.api.rules import PLANNED_MESSAGE, UNKNOWN_FIELD, judge_spec, known_places, parse_spec
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.api.wording import explain, nearest

KIND: Final = "TrainingRun"
ROOT_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_PLANNED_KINDS: Final = frozenset({"TuningStudy"})
_INTERNAL_KINDS: Final = frozenset({"RunRecord"})

_WRITTEN_BY_USERS: Final = ("name", "namespace", "labels", "annotations", "ownerReferences", "finalizers")
_WRITTEN_BY_SERVER: Final = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)

NAME_MAX: Final = 253
"""Kubernetes' limit for names of objects. A Job's name cuts the run's name, so no shorter limit is needed."""
NAMESPACE_MAX: Final = 63
_LABEL: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAMESPACE: Final = re.compile(_LABEL)

BAD_NAME: Final = "must consist of lower-case letters, digits, `-` and `.`, and start and end with a letter or digit"
BAD_NAMESPACE: Final = "must consist of lower-case letters, digits and `-`, and start and end with a letter or digit"
DOTTED_NAME: Final = "has a dot in it: pods' host names are cut there"
GENERATE_NAME: Final = "is refused: a run must have the same name each time its manifest is applied"
GENERATE_NAME_HINT: Final = "set metadata.name; to train again take another name, or change spec.rerun"
IGNORED: Final = "is ignored: Trainmaster and the API server write it"


def judge_object(data: object) -> tuple[Problem, ...]:
    """Every problem of one object, in no particular order."""
    if not isinstance(data, dict):
        return (Problem(value=data, message="must be a mapping with apiVersion, kind, metadata and spec"),)
    kind = tuple(_kind_problems(data.get("kind")))
    if kind and not kind[0].hint.startswith(("write", "did you")):
        return kind  # some other kind of object: nothing in it means what it means here
    spec = data.get("spec")
    if isinstance(spec, dict):
        judged = judge_spec(spec)
    else:
        wrong = "is required" if spec is None else "must be a mapping of names to values"
        judged = (Problem(path="spec", value=spec, message=wrong),)
    version = _api_version_problems(data.get("apiVersion"))
    return (*kind, *version, *_root_problems(data), *_metadata_problems(data.get("metadata")), *judged)


def parse_object(data: Mapping[str, Any]) -> TrainingRun:
    """The object as a model, without status and without what the API server writes into metadata.

    Raises pydantic's ValidationError where `judge_object` finds an error.
    """
    given = {name: data["metadata"][name] for name in _WRITTEN_BY_USERS if data["metadata"].get(name) is not None}
    return TrainingRun(metadata=ObjectMeta.model_validate(given, by_alias=True), spec=parse_spec(data["spec"]))


def _kind_problems(kind: object) -> Iterator[Problem]:
    if kind == KIND:
        return
    if kind is None:
        yield Problem(path="kind", message="is required", hint=f"write kind: {KIND}")
    elif not isinstance(kind, str):
        yield Problem(path="kind", value=kind, message="must be a string", hint=f"write kind: {KIND}")
    elif kind in _PLANNED_KINDS:
        yield Problem(path="kind", value=kind, message=PLANNED_MESSAGE, hint="remove the object")
    elif kind in _INTERNAL_KINDS:
        yield Problem(path="kind", value=kind, message="is written by Trainmaster, never by hand", hint="remove it")
    elif kind == "List":
        hint = "make each of its items a document of its own, with --- between them"
        yield Problem(path="kind", value=kind, message="is not read here", hint=hint)
    else:
        near = nearest(kind, [KIND])
        hint = f'did you mean "{near}"?' if near else f"only {KIND} is judged here"
        yield Problem(path="kind", value=kind, message="is no kind of Trainmaster", hint=hint)


def _api_version_problems(version: object) -> Iterator[Problem]:
    if version is None:
        yield Problem(path="apiVersion", message="is required", hint=f"write apiVersion: {API_VERSION}")
    elif version != API_VERSION:
        hint = f'did you mean "{API_VERSION}"?'
        yield Problem(path="apiVersion", value=version, message=f"must be {API_VERSION}", hint=hint)


def _root_problems(data: dict[str, Any]) -> Iterator[Problem]:
    for name in data.keys() - set(ROOT_FIELDS):
        yield _unknown((name,), value=data[name], names=ROOT_FIELDS)
    if data.get("status"):
        yield Problem(path="status", value=data["status"], message=IGNORED, hint="remove it", severity=WARNING)


def _unknown(location: tuple[str, ...], *, value: object, names: tuple[str, ...]) -> Problem:
    near, elsewhere = nearest(location[-1], names), known_places(location[-1])
    hint = f"known here: {', '.join(names)}"
    if near:
        hint = f'did you mean "{near}"?'
    elif elsewhere:
        hint = f"it belongs at {' or '.join(elsewhere)}"
    return Problem(path=field_path(location), value=value, message=UNKNOWN_FIELD, hint=hint, about_name=True)


def _metadata_problems(metadata: object) -> Iterator[Problem]:
    if not isinstance(metadata, dict):
        wrong = "is required" if metadata is None else "must be a mapping of names to values"
        yield Problem(path="metadata", value=metadata, message=wrong, hint="metadata: {name: ...}")
        return
    given = {name: value for name, value in metadata.items() if value is not None}
    for name in given.keys() - {*_WRITTEN_BY_USERS, *_WRITTEN_BY_SERVER, "generateName"}:
        yield _unknown(("metadata", name), value=given[name], names=_WRITTEN_BY_USERS)
    for name in given.keys() & set(_WRITTEN_BY_SERVER):
        path = field_path(("metadata", name))
        yield Problem(path=path, value=given[name], message=IGNORED, hint="remove it", severity=WARNING)
    if "generateName" in given:
        yield Problem(
            path="metadata.generateName",
            value=given["generateName"],
            message=GENERATE_NAME,
            hint=GENERATE_NAME_HINT,
            about_name=True,
        )
    yield from _metadata_shape(given)
    yield from _name_problems(given.get("name"), given.get("namespace"))


def _metadata_shape(given: dict[str, Any]) -> Iterator[Problem]:
    """Types of what users write there; a name that `generateName` or a misspelling stands for is not missed again."""
    users = {name: given[name] for name in _WRITTEN_BY_USERS if name in given}
    stands_in = "generateName" in given or any(nearest(name, ["name"]) for name in given.keys() - users.keys())
    try:
        ObjectMeta.model_validate_json(json.dumps(users), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["type"] == "missing" and detail["loc"] == ("name",) and stands_in:
                continue
            message, hint = explain(detail)
            value = None if detail["type"] == "missing" else detail["input"]
            yield Problem(path=field_path(("metadata", *detail["loc"])), value=value, message=message, hint=hint)


def _name_problems(name: object, namespace: object) -> Iterator[Problem]:
    if isinstance(name, str):
        if not _NAME.fullmatch(name) or len(name) > NAME_MAX:
            wrong = BAD_NAME if len(name) <= NAME_MAX else f"must have at most {NAME_MAX} characters"
            yield Problem(path="metadata.name", value=name, message=wrong, hint=_suggest_name(name))
        elif "." in name:
            hint = f"{name.replace('.', '-')} avoids that"
            yield Problem(path="metadata.name", value=name, message=DOTTED_NAME, hint=hint, severity=WARNING)
    if isinstance(namespace, str) and (not _NAMESPACE.fullmatch(namespace) or len(namespace) > NAMESPACE_MAX):
        wrong = BAD_NAMESPACE if len(namespace) <= NAMESPACE_MAX else f"must have at most {NAMESPACE_MAX} characters"
        yield Problem(path="metadata.namespace", value=namespace, message=wrong)


def _suggest_name(name: str) -> str:
    near = re.sub(r"[^a-z0-9.]+", "-", name.lower())[:NAME_MAX].strip("-.")
    return f"for example {near}" if _NAME.fullmatch(near) else ""
