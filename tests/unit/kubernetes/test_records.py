"""Which records there are, by name and by what was trained."""

from __future__ import annotations

from tests.support.kubernetes_objects import record_json
from tests.support.runs import run_of
from trainmaster.adapters.kubernetes.records import RecordIndex
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import spec_hash

TRAINED = spec_hash(run_of())


def index_of(*names: str, **spec: object) -> RecordIndex:
    index = RecordIndex()
    for name in names:
        index.put(record_json(name, uid=name) | {"spec": record_json(name, uid=name, specHash=TRAINED)["spec"] | spec})
    return index


def test_records_are_known_by_namespace_and_name_whatever_they_are_about() -> None:
    index = index_of("a", "b", outcome="Failed")

    assert index.there("default", frozenset({"a", "b", "c"})) == {"a", "b"}
    assert index.there("team", frozenset({"a"})) == frozenset()


def test_successes_are_those_of_the_same_name_and_spec_in_the_same_namespace() -> None:
    index = index_of("b", "a")
    index.put(record_json("failed", uid="1", specHash=TRAINED, outcome="Failed"))
    index.put(record_json("other-spec", uid="2", specHash="other"))
    index.put(record_json("other-run", uid="3", specHash=TRAINED, runName="speech"))
    index.put(record_json("other-place", uid="4", specHash=TRAINED, namespace="team"))

    assert index.successes(run_of()) == (Key("default", "a"), Key("default", "b"))
    assert index.successes(run_of(hyperparameters={"learning_rate": 0.1})) == ()


def test_what_is_deleted_is_forgotten_and_forgetting_the_unknown_does_nothing() -> None:
    index = index_of("a", "b")
    index.remove(record_json("a", uid="a"))
    index.remove(record_json("never", uid="never"))

    assert index.there("default", frozenset({"a", "b"})) == {"b"}
    assert index.successes(run_of()) == (Key("default", "b"),)


def test_a_list_that_shows_a_name_under_a_new_uid_keeps_the_name() -> None:
    index = index_of("a")
    index.put(record_json("a", uid="new", specHash=TRAINED), listed=True)
    index.retain(frozenset({"new"}))

    assert index.there("default", frozenset({"a"})) == {"a"}
    assert index.successes(run_of()) == (Key("default", "a"),)


def test_a_record_that_says_nothing_readable_is_only_a_name() -> None:
    index = RecordIndex()
    index.put({"metadata": {"name": "a", "namespace": "default", "uid": "a"}, "spec": {}})

    assert index.there("default", frozenset({"a"})) == {"a"}
    assert index.successes(run_of()) == ()
