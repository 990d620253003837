"""What is sent of a manifest: what its author wrote, judged before."""

from __future__ import annotations

from typing import Any

import pytest

from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.client import InvalidRunError
from trainmaster.client.submission import merged, prepare

MANIFEST: dict[str, Any] = {
    "apiVersion": "trainmaster.io/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"name": "mine", "labels": {"team": "a"}},
    "spec": {"workload": "custom", "command": ["x"], "storage": {"keepLast": 5}},
}


def test_a_manifest_is_sent_without_defaults() -> None:
    prepared = prepare(MANIFEST, namespace="here")
    assert prepared.key == Key("here", "mine")
    assert prepared.body["spec"] == MANIFEST["spec"]
    assert prepared.body["metadata"] == {"name": "mine", "namespace": "here", "labels": {"team": "a"}}


def test_a_namespace_of_its_own_wins() -> None:
    there = {**MANIFEST, "metadata": {"name": "mine", "namespace": "there"}}
    assert prepare(there, namespace="here").key == Key("there", "mine")


def test_a_model_is_sent_as_it_was_written_and_what_the_server_wrote_stays_behind() -> None:
    stored = MANIFEST | {
        "metadata": MANIFEST["metadata"] | {"uid": "u", "resourceVersion": "7", "generation": 3},
        "status": {"phase": "Succeeded"},
    }
    prepared = prepare(TrainingRun.model_validate(stored), namespace="here")
    assert prepared.body == prepare(MANIFEST, namespace="here").body


def test_problems_are_named_by_their_fields_all_at_once() -> None:
    wrong = {**MANIFEST, "spec": {"workload": "custom", "command": ["x"], "storage": {"keepLasts": 5}, "suspend": "no"}}
    with pytest.raises(InvalidRunError) as caught:
        prepare(wrong, namespace="here")
    assert {problem.path for problem in caught.value.problems} == {"spec.storage.keepLasts", "spec.suspend"}
    assert 'spec.storage.keepLasts: unknown field (got 5); did you mean "keepLast"?' in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"a": {"b": 1, "c": 2}, "d": [1]}),
        ({"a": {"b": 3}}, {"a": {"b": 3, "c": 2}, "d": [1]}),
        ({"a": {"b": None}}, {"a": {"c": 2}, "d": [1]}),
        ({"a": 5, "d": None}, {"a": 5}),
        ({"d": [2, 3]}, {"a": {"b": 1, "c": 2}, "d": [2, 3]}),
        ({"e": {"f": {"g": 1, "h": None}}}, {"a": {"b": 1, "c": 2}, "d": [1], "e": {"f": {"g": 1}}}),
    ],
)
def test_changes_are_merged_as_the_server_merges_them(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    stored = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert merged(stored, changes) == expected
    assert stored == {"a": {"b": 1, "c": 2}, "d": [1]}
