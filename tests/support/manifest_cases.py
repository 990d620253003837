"""Good and bad manifests and updates: judged offline by unit tests, by a real API server in cluster tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HEAD = """apiVersion: trainmaster.io/v1alpha1
kind: TrainingRun
metadata: {name: run}
spec:
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """One problem that must be found."""

    path: str
    line: int
    says: str
    severity: str = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One manifest and what is wrong with it; `server` is `accepts` where the API server cannot know that."""

    name: str
    text: str
    problems: tuple[Expected, ...] = ()
    rule: str = ""
    server: str = ""

    @property
    def is_good(self) -> bool:
        return all(problem.severity == "warning" for problem in self.problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateCase:
    """A stored spec, a new one, and the fields whose change must be refused."""

    name: str
    old: dict[str, Any]
    new: dict[str, Any]
    refused: tuple[str, ...] = ()


def _load(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return loaded


def _case(given: dict[str, Any]) -> Case:
    block = given.get("spec")
    text = given["text"] if block is None else HEAD + "".join(f"  {line}\n" for line in block.splitlines())
    problems = tuple(Expected(**problem) for problem in given.get("problems", ()))
    return Case(
        name=given["name"], text=text, problems=problems, rule=given.get("rule", ""), server=given.get("server", "")
    )


CASES = tuple(_case(given) for given in _load("manifest_cases.yaml"))
GOOD = tuple(case for case in CASES if case.is_good)
BAD = tuple(case for case in CASES if not case.is_good)


def _update(given: dict[str, Any]) -> UpdateCase:
    return UpdateCase(**{**given, "refused": tuple(given.get("refused", ()))})


UPDATES = tuple(_update(given) for given in _load("update_cases.yaml"))
