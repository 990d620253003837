"""The admin file that the chart renders is one that the operator reads, and the schema refuses what it would refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.chart import CHART, Json, Rendered, render
from trainmaster.api.admin import PLANNED, URI_PATTERN, AdminSettings, TrackingBackend, parse_admin

VALUES = Path(__file__).parent / "values"


def admin_file(rendered: Rendered) -> AdminSettings:
    return parse_admin(yaml.safe_load(rendered.one("ConfigMap", "trainmaster-admin")["data"]["admin.yaml"]))


def schema() -> Json:
    found: Json = json.loads((CHART / "values.schema.json").read_text())["properties"]["admin"]
    return found


def test_what_values_say_is_what_the_operator_reads() -> None:
    assert admin_file(render(values=VALUES / "admin-file.yaml")) == AdminSettings(
        allowed_service_accounts=("trainer",),
        allowed_priority_classes=("batch-low", "batch-high"),
        tracking_backends={"team-mlflow": TrackingBackend(uri="https://mlflow.example.org")},
    )


def test_nothing_said_allows_nothing() -> None:
    assert admin_file(render()) == AdminSettings()


def test_the_operator_finds_it_where_it_is_mounted() -> None:
    rendered = render()
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "admin"]
    assert rendered.flags["--admin-file"] == [f"{mount['mountPath']}/admin.yaml"]
    assert "subPath" not in mount, "a mounted file of its own is never replaced when the ConfigMap changes"


def test_the_schema_knows_the_fields_that_the_operator_knows_and_no_planned_ones() -> None:
    assert set(schema()["properties"]) == {field.alias for field in AdminSettings.model_fields.values()}
    assert not set(schema()["properties"]) & PLANNED
    backend = schema()["properties"]["trackingBackends"]["additionalProperties"]
    assert set(backend["properties"]) == set(TrackingBackend.model_fields)
    assert backend["properties"]["uri"]["pattern"] == URI_PATTERN


@pytest.mark.parametrize("name", ["everything", "admission", "labels"])
def test_other_values_make_a_file_that_can_be_read(name: str) -> None:
    rendered = render(values=VALUES / f"{name}.yaml")
    (text,) = [c["data"]["admin.yaml"] for c in rendered.of("ConfigMap") if "admin.yaml" in c["data"]]
    assert parse_admin(yaml.safe_load(text))
