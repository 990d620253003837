"""`trainmaster explain`: every hyperparameter and preset with its reason, for people and for programs."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner, Result

from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.market_presets import MODEL_PRESETS, TRAINER_PRESETS
from trainmaster.cli.explain import UnknownNameError
from trainmaster.cli.main import app


def explain(*words: str) -> Result:
    return CliRunner().invoke(app, ["explain", *words])


def test_the_table_has_a_row_for_each_hyperparameter() -> None:
    lines = explain("hyperparameters").stdout.splitlines()

    assert lines[0].split() == ["NAME", "TYPE", "DEFAULT", "RANGE", "EFFECT", "REASON"]
    assert [line.split()[0] for line in lines[1:]] == list(MarketClassifierHyperparameters.model_fields)
    gamma = next(line for line in lines if line.startswith("focal_gamma "))
    assert "at least 0, at most 10" in gamma
    assert "Power of the focal loss; 0 is plain cross entropy." in gamma
    assert "The source's value; a little above 2" in gamma


def test_programs_get_all_of_it_as_json() -> None:
    data = {each["name"]: each for each in json.loads(explain("hyperparameters", "-o", "json").stdout)}

    rate = data["learning_rate"]
    assert (rate["type"], rate["default"], rate["exclusiveMinimum"], rate["maximum"]) == ("number", 5e-5, 0, 10)
    assert (rate["correctable"], rate["schedulable"]) == (True, True)
    assert data["precision"]["choices"] == ["auto", "float32", "bfloat16", "float16"]
    assert data["lr_scheduler"]["otherNames"] == ["scheduler_type"]
    assert all(each["effect"] and each["reason"] for each in data.values())


def test_yaml_says_the_same_as_json() -> None:
    as_json, as_yaml = (explain("hyperparameters", "-o", form).stdout for form in ("json", "yaml"))

    assert yaml.safe_load(as_yaml) == json.loads(as_json)


@pytest.mark.parametrize("name", ["lr_scheduler", "LR-Scheduler", "scheduler_type"])
def test_one_of_them_is_found_in_any_spelling(name: str) -> None:
    shown = explain("hyperparameters", name).stdout

    assert "lr_scheduler, scheduler_type" in shown
    assert json.loads(explain("hyperparameters", name, "-o", "json").stdout)["name"] == "lr_scheduler"


def test_a_name_that_does_not_exist_leads_to_the_nearest() -> None:
    refusal = explain("hyperparameters", "focal_gama").exception

    assert isinstance(refusal, UnknownNameError)
    assert str(refusal) == "market-classifier has no hyperparameter focal_gama; did you mean focal_gamma?"


@pytest.mark.parametrize("what", ["hyperparameters", "presets"])
def test_foreign_code_has_neither(what: str) -> None:
    assert explain(what, "--workload", "custom").stdout.startswith("custom ")
    assert json.loads(explain(what, "--workload", "custom", "-o", "json").stdout) == []


@pytest.mark.parametrize("what", ["hyperparameters", "presets"])
def test_a_workload_that_does_not_exist_leads_to_the_nearest(what: str) -> None:
    refusal = explain(what, "--workload", "market-clasifier").exception

    assert str(refusal) == "there is no workload market-clasifier; did you mean market-classifier?"


def test_presets_tell_purpose_cost_and_every_reason() -> None:
    shown = " ".join(explain("presets").stdout.split())

    for preset in (*MODEL_PRESETS.values(), *TRAINER_PRESETS.values()):
        assert f"{preset.purpose} {preset.cost}" in shown
        assert all(choice.reason in shown for choice in preset.choices.values())


def test_a_pipe_gets_each_paragraph_on_a_line_that_ends_with_it() -> None:
    lines = explain("presets").stdout.splitlines()

    for preset in (*MODEL_PRESETS.values(), *TRAINER_PRESETS.values()):
        assert f"  {preset.purpose} {preset.cost}" in lines


def test_a_preset_by_name_is_that_of_both_parts() -> None:
    data = json.loads(explain("presets", "production_small", "-o", "json").stdout)

    assert [(each["part"], each["name"]) for each in data] == [
        ("model", "production-small"),
        ("trainer", "production-small"),
    ]
    assert data[0]["hyperparameters"]["hidden_size"]["value"] == 48


def test_a_preset_that_does_not_exist_leads_to_the_nearest() -> None:
    refusal = explain("presets", "prodution").exception

    assert str(refusal) == "market-classifier has no preset prodution; did you mean production?"
