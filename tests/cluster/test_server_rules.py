"""Schema and CEL rules on a real API server judge as `trainmaster validate` does, manifests and updates.

Every manifest is read as `trainmaster validate` reads it and sent in dry run with strict field validation, as kubectl
sends it. A text that is no YAML reaches no server: there kubectl is asked. Where both judge differently on purpose, the
case stands in `OFFLINE_ONLY` or `SERVER_ONLY` with the reason, or is marked `server: accepts` in the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.support.cluster_runs import RUNS, fresh_namespace, refused_fields, run_manifest
from tests.support.control_plane import ControlPlane
from tests.support.control_plane.plane import Answer
from tests.support.manifest_cases import CASES, UPDATES, Case, UpdateCase
from trainmaster.adapters.manifests import judge_text
from trainmaster.adapters.manifests.document import read_documents
from trainmaster.api.cel import TRAINING_RUN_RULES
from trainmaster.api.trainingrun import TrainingRunStatus
from trainmaster.api.transitions import is_untrained, judge_update

Wire = dict[str, Any]
NAMESPACES = ("team-a", "team-b")
"""Namespaces that manifests of the table name."""
DRY = "dryRun=All&fieldValidation=Strict"

OFFLINE_ONLY = {
    "generateName": "the server makes up a name each time: legal, but each apply would train once more",
    "a number that is none": "YAML's .nan travels as text here; kubectl cannot write it as JSON at all",
    "a number too large for a float": "travels as text: the schema leaves hyperparameters to their workload",
    "a duplicate field": "JSON is made of the last one before anything is sent",
    "a duplicate section": "JSON is made of the last one before anything is sent",
    "a template": "a command may hold any text; only Flux would replace this one",
    "a tag": "tags are gone when JSON is made",
    "two objects of one name": "each is judged alone in dry run; the second one would overwrite the first",
}
"""Refused offline, accepted by the server, and why."""
SERVER_ONLY = {
    "what the API server writes into metadata": "the server refuses a UID that is a number, and a resourceVersion of "
    "an object that does not exist yet; offline they are only warned of, since `kubectl get -o yaml` prints them",
}
"""Accepted offline, with a warning; refused by the server, and why."""
UNNAMED = {
    "another version": "sent to our version's address, which takes it for an object of another shape",
    "a foreign kind is not judged further": "sent to our kind's address, where only apiVersion is looked at",
    "a List": "sent to our kind's address, where only apiVersion is looked at",
}
"""Refused by both; the server's message is about another field."""


@pytest.fixture(scope="module", autouse=True)
def named_namespaces(plane: ControlPlane) -> None:
    """Namespaces of the table; left to the plane, since several workers may use them."""
    for name in NAMESPACES:
        answer = plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert answer.status in {201, 409}


@pytest.fixture(scope="module")
def arena(plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(plane) as name:
        yield name


@cache
def send(plane: ControlPlane, case: Case) -> list[Answer]:
    """The server's answers to the documents of a case; to a text that is no YAML, kubectl's."""
    documents = list(read_documents(case.text))
    if not documents or any(document.data is None for document in documents):
        done = plane.kubectl("create", "--dry-run=server", "-f", "-", input=case.text, check=False)
        return [Answer(status=201 if done.returncode == 0 else 400, body={"message": done.stderr})]
    return [plane.request("POST", f"{RUNS.format(namespace_of(d.data))}?{DRY}", d.data) for d in documents]


def namespace_of(data: Any) -> str:  # noqa: ANN401 - whatever a document holds
    metadata = data.get("metadata") if isinstance(data, dict) else None
    return str((metadata or {}).get("namespace") or "default")


def names(message: str, path: str) -> bool:
    """Whether a message names a field: its path, its last name, or the item of the list that it is in."""
    plain = re.sub(r"\s", "", message).lower()
    parent, _, last = re.sub(r'\[".*"\]$', "", path).rpartition(".")
    return any(part.lower() in plain for part in (path, last, parent) if part)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_server_judges_a_manifest_as_validate_does(plane: ControlPlane, case: Case) -> None:
    answers = send(plane, case)

    offline = not judge_text(case.text).errors
    online = all(answer.status == 201 for answer in answers)
    if case.server == "accepts" or case.name in OFFLINE_ONLY:
        assert (offline, online) == (False, True), "no exception any more: take it off the list"
    elif case.name in SERVER_ONLY:
        assert (offline, online) == (True, False), "no exception any more: take it off the list"
    else:
        assert offline == online, answers


@pytest.mark.parametrize(
    "case", [c for c in CASES if any(p.path for p in c.problems) and not c.is_good], ids=lambda case: case.name
)
def test_server_names_a_field_that_validate_names(plane: ControlPlane, case: Case) -> None:
    said = " ".join(answer.body["message"] for answer in send(plane, case) if answer.status != 201)

    accepted = case.server == "accepts" or case.name in OFFLINE_ONLY
    assert accepted or case.name in UNNAMED or any(names(said, problem.path) for problem in case.problems), said
    for rule in TRAINING_RUN_RULES:
        assert (rule.message in said) == (rule.name == case.rule), "users read the rule's own words, and no other's"


def test_exceptions_are_cases_of_the_table() -> None:
    assert {*OFFLINE_ONLY, *SERVER_ONLY, *UNNAMED} <= {case.name for case in CASES}


@pytest.mark.parametrize("case", UPDATES, ids=lambda case: case.name)
def test_server_refuses_of_an_update_the_fields_that_validate_refuses(
    plane: ControlPlane, arena: str, case: UpdateCase
) -> None:
    name = re.sub(r"[^a-z]+", "-", case.name)
    stored = stored_with(plane, arena, name=name, spec=case.old, status={"launch": 1})

    answer = plane.request("PUT", f"{RUNS.format(arena)}/{name}?{DRY}", {**stored, "spec": case.new})

    problems = judge_update(case.old, case.new)
    assert refused_fields(answer) == {problem.path for problem in problems}
    assert answer.status == (422 if problems else 200)
    for problem in problems:
        assert f"{problem.path} {problem.message}" in answer.body["message"]


def stored_with(plane: ControlPlane, arena: str, *, name: str, spec: Wire, status: Wire) -> Wire:
    """A run as stored, with these fields in its status."""
    path = f"{RUNS.format(arena)}/{name}"
    assert plane.request("POST", RUNS.format(arena), run_manifest(name, spec)).status == 201
    answer = plane.request("PATCH", f"{path}/status", {"status": status})
    assert answer.status == 200, answer
    stored: Wire = answer.body
    return stored


@pytest.mark.parametrize(
    "status",
    [{}, {"launch": 0}, {"phase": "Suspended"}, {"launch": 0, "phase": "Failed"}, {"launch": 0, "phase": "Succeeded"}],
    ids=["nobody has looked", "no launch", "suspended", "failed at once", "took over a result"],
)
def test_the_spec_of_a_run_that_nothing_was_trained_of_may_change(
    plane: ControlPlane, arena: str, status: Wire
) -> None:
    old = {"workload": "custom", "command": ["a"], "hyperparameters": {"n": 1}}
    name = f"untrained-{'-'.join(map(str, status.values())).lower() or 'new'}"
    stored = stored_with(plane, arena, name=name, spec=old, status=status)

    changed = {**stored, "spec": old | {"hyperparameters": {"n": 2}}}
    answer = plane.request("PUT", f"{RUNS.format(arena)}/{name}?{DRY}", changed)

    expected = 200 if is_untrained(TrainingRunStatus.model_validate(status)) else 422
    assert (answer.status, refused_fields(answer)) == (expected, {"spec.hyperparameters"} if expected == 422 else set())
    assert (expected == 422) == (status.get("phase") == "Succeeded")


def test_at_least_twenty_updates_are_compared() -> None:
    assert len(UPDATES) >= 20
