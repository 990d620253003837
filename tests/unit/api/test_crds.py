"""The CRDs say what the models say, in the way that the API server, kubectl and GitOps tools need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.manifest_cases import CASES, GOOD, UPDATES, Case
from tests.support.structural_validator import violations
from trainmaster.adapters.manifests.document import read_documents
from trainmaster.api.cel import RUN_RECORD_RULES, TRAINING_RUN_RULES
from trainmaster.api.crds import MAX_CRD_BYTES, all_crds, run_record_crd, training_run_crd
from trainmaster.api.rules import spec_schema, without_nulls
from trainmaster.api.trainingrun import TRAINING_FIELDS, TrainingRun, TrainingRunSpec
from trainmaster.cli.output import to_yaml

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in all_crds()}


def schema(kind: str) -> dict[str, Any]:
    root: dict[str, Any] = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from nodes(node["additionalProperties"], f"{path}{{}}")


@pytest.mark.parametrize("kind", CRDS)
def test_a_crd_is_small_and_its_text_is_always_the_same(kind: str) -> None:
    text = to_yaml(CRDS[kind])

    assert len(text.encode()) < MAX_CRD_BYTES == 64 * 1024
    assert text == to_yaml({"TrainingRun": training_run_crd, "RunRecord": run_record_crd}[kind]())
    assert text.isascii()


def test_names_scope_and_columns() -> None:
    spec = CRDS["TrainingRun"]["spec"]

    assert CRDS["TrainingRun"]["metadata"]["name"] == "trainingruns.trainmaster.io"
    assert spec["scope"] == "Namespaced"
    assert spec["names"]["shortNames"] == ["tr"]
    assert CRDS["RunRecord"]["spec"]["names"]["shortNames"] == ["rr"]
    assert spec["versions"][0]["subresources"] == {"status": {}}
    columns = {column["name"]: column["jsonPath"] for column in spec["versions"][0]["additionalPrinterColumns"]}
    assert columns["Loss"] == ".status.metrics.val_loss"
    assert columns["Progress"] == ".status.progress.percent"
    assert columns["Attempt"] == ".status.plan.generation"
    assert {"Phase", "Health", "Age"} <= columns.keys()


def test_kubectl_get_all_does_not_find_runs() -> None:
    assert all("all" not in crd["spec"]["names"]["categories"] for crd in CRDS.values())


@pytest.mark.parametrize("kind", CRDS)
def test_every_printer_column_reads_a_field_that_exists(kind: str) -> None:
    for column in CRDS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]:
        node = schema(kind)
        for step in column["jsonPath"].removeprefix(".").split("."):
            if node.get("properties") is None:
                assert step == "creationTimestamp" or "additionalProperties" in node, column
                break
            name, _, items = step.partition("[*]")
            node = node["properties"][name]
            assert (node["type"] == "array") == (name != step), column
            assert not items


@pytest.mark.parametrize("kind", CRDS)
def test_no_typed_field_is_a_float_and_no_list_item_has_a_default(kind: str) -> None:
    for path, node in nodes(schema(kind)):
        assert node.get("type") != "number", path
        assert "[]" not in path or "default" not in node, path


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_is_described_in_one_line(kind: str) -> None:
    for path, node in nodes(schema(kind)):
        if path and not path.endswith(("[]", "{}", ".metadata")):
            assert node["description"], path
            assert "\n" not in node["description"], path


NAMELESS_ITEMS = frozenset({".spec.tolerations", ".spec.parameterSchedules"})
"""Lists that are replaced whole: no field of an item, always there, would name it."""


@pytest.mark.parametrize("kind", CRDS)
def test_lists_of_objects_in_spec_merge_by_key_and_every_list_has_a_type(kind: str) -> None:
    for path, node in nodes(schema(kind)):
        if node.get("type") != "array":
            continue
        assert "x-kubernetes-list-type" in node, path
        if path.startswith(".spec") and node["items"]["type"] == "object" and path not in NAMELESS_ITEMS:
            assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), path


def test_everything_in_reach_of_a_rule_is_bounded() -> None:
    for path, node in nodes(schema("TrainingRun")["properties"]["spec"], ".spec"):
        bound = {"string": "maxLength", "array": "maxItems"}.get(node.get("type", ""))
        assert bound is None or bound in node or "enum" in node, path
        assert "additionalProperties" not in node or "maxProperties" in node, path


def test_status_begins_unobserved_and_has_no_other_default() -> None:
    status = schema("TrainingRun")["properties"]["status"]

    assert status["default"] == {"observedGeneration": -1}
    assert [path for path, node in nodes(status) if path and "default" in node] == []


def test_defaults_of_the_schema_are_those_of_the_models() -> None:
    def filled(node: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        """What the API server makes of an object: defaults from the top down."""
        out = dict(value)
        for name, child in node.get("properties", {}).items():
            if name not in out and "default" in child:
                out[name] = child["default"]
            if isinstance(out.get(name), dict) and "properties" in child:
                out[name] = filled(child, out[name])
        return out

    assert (
        filled(schema("TrainingRun")["properties"]["spec"], {"workload": "custom"})
        == TrainingRunSpec(workload="custom").to_wire()
    )


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_the_schema_accepts_every_good_manifest(case: Case) -> None:
    for document in read_documents(case.text):
        data = {**document.data, "spec": without_nulls(document.data["spec"], spec_schema())}
        assert [found for found in violations(schema("TrainingRun"), data) if ".metadata." not in found] == []


def test_unknown_items_of_status_survive_a_round_trip() -> None:
    stored: dict[str, Any] = {
        "apiVersion": "trainmaster.io/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "a", "namespace": "b", "uid": "u", "futureField": {"x": [1]}},
        "spec": TrainingRunSpec(workload="custom", command=("a",)).to_wire(),
        "status": {
            "observedGeneration": 3,
            "future": {"deep": [{"y": 1.5}]},
            "decisions": [
                {
                    "id": "d1",
                    "kind": "FutureKind",
                    "reason": "R",
                    "state": "FutureState",
                    "time": "2026-01-02T03:04:05Z",
                    "launch": 1,
                    "futureItem": "kept",
                }
            ],
        },
    }

    wire = TrainingRun.model_validate(stored).to_wire()

    assert wire["status"]["future"] == stored["status"]["future"]
    assert wire["status"]["decisions"][0].items() >= stored["status"]["decisions"][0].items()
    assert wire["metadata"]["futureField"] == {"x": [1]}


def test_every_rule_is_exercised_by_the_table() -> None:
    broken = {case.rule for case in CASES if case.rule} | {
        f"immutable-{field}" for update in UPDATES for field in update.refused
    }

    assert broken == {rule.name for rule in TRAINING_RUN_RULES}
    assert {f"immutable-{field}" for field in TRAINING_FIELDS} <= broken


def test_rules_stand_where_they_say_with_a_message_of_one_line() -> None:
    for kind, rules in (("TrainingRun", TRAINING_RUN_RULES), ("RunRecord", RUN_RECORD_RULES)):
        placed = [rule for _, node in nodes(schema(kind)) for rule in node.get("x-kubernetes-validations", ())]
        assert sorted(rule["rule"] for rule in placed) == sorted(rule.rule for rule in rules)
        assert all("\n" not in rule["message"] and len(rule["message"]) <= 2048 for rule in placed)


def test_no_rule_can_refuse_a_status() -> None:
    status = schema("TrainingRun")["properties"]["status"]
    assert all("x-kubernetes-validations" not in node for _, node in nodes(status))

    at_the_root = [rule for rule in TRAINING_RUN_RULES if not rule.at]
    assert {rule.name for rule in at_the_root} == {f"immutable-{field}" for field in TRAINING_FIELDS}
    for rule, field in zip(at_the_root, TRAINING_FIELDS, strict=True):
        unchanged = f"|| (has(self.spec.{field}) == has(oldSelf.spec.{field}) &&"
        assert unchanged in rule.rule, "who writes a status leaves the spec as it is"
        assert "self.status" not in rule.rule.replace("oldSelf.status", "")
