"""`trainmaster validate`: what people see, what programs read, and the exit code."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner, Result

from trainmaster.cli.main import app

GOOD = """apiVersion: trainmaster.io/v1alpha1
kind: TrainingRun
metadata: {name: good}
spec: {workload: custom, command: [a]}
"""
BAD = """apiVersion: trainmaster.io/v1alpha1
kind: TrainingRun
metadata: {name: bad}
spec:
  workload: custom
  command: [a]
  hyperparamters: {a: 1}
"""
WARNED = GOOD.replace("name: good", "name: go.od")


def validate(text: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["validate", *options, "-"], input=text)


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (GOOD, (), 0),
        (GOOD, ("--strict",), 0),
        (BAD, (), 2),
        (WARNED, (), 0),
        (WARNED, ("--strict",), 2),
        ("", (), 2),
        (BAD, ("-o", "json"), 2),
        (GOOD, ("-o", "yaml"), 0),
    ],
)
def test_exit_codes(text: str, options: tuple[str, ...], code: int) -> None:
    assert validate(text, *options).exit_code == code


def test_people_see_place_problem_way_out_and_a_caret() -> None:
    lines = validate(BAD).stdout.splitlines()

    assert lines[0] == (
        '<stdin>:7:3: spec.hyperparamters: unknown field (got a mapping); did you mean "hyperparameters"?'
    )
    assert lines[1] == " 7 |   hyperparamters: {a: 1}"
    assert lines[2] == "   |   ^"
    assert lines[-1] == "1 error, 0 warnings in 1 file"


def test_a_good_file_is_said_to_be_good() -> None:
    assert validate(GOOD).stdout == "<stdin>:1: TrainingRun default/good: valid\n"


def test_programs_read_json_and_nothing_else() -> None:
    data = json.loads(validate(BAD, "-o", "json").stdout)

    assert data["valid"] is False
    assert data["objects"] == []
    assert data["problems"][0] == {
        "severity": "error",
        "file": "<stdin>",
        "line": 7,
        "column": 3,
        "path": "spec.hyperparamters",
        "message": "unknown field",
        "value": {"a": 1},
        "hint": 'did you mean "hyperparameters"?',
    }


def test_yaml_says_the_same_as_json() -> None:
    assert yaml.safe_load(validate(WARNED, "-o", "yaml").stdout) == json.loads(validate(WARNED, "-o", "json").stdout)


def test_strict_makes_a_warning_invalid_for_programs_too() -> None:
    assert json.loads(validate(WARNED, "-o", "json").stdout)["valid"] is True
    assert json.loads(validate(WARNED, "-o", "json", "--strict").stdout)["valid"] is False


def test_a_file_cannot_speak_to_the_terminal() -> None:
    shown = validate(GOOD.replace("name: good", 'name: "\\e[31mred\\u202e"')).stdout

    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_nothing_is_coloured_where_there_is_no_terminal() -> None:
    assert "\x1b" not in validate(BAD).stdout


def test_no_file_is_refused() -> None:
    assert CliRunner().invoke(app, ["validate"]).exit_code == 2
