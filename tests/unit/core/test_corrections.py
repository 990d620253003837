from __future__ import annotations

from typing import Any

import pytest

from trainmaster.api.hyperparameters import Scalar
from trainmaster.core.health import Finding
from trainmaster.core.recovery.corrections import corrections_for

CRITICAL = Finding(
    problem="gradient-explosion", reason="GradientExplosion", severity="critical", step=9, evidence="norm nan at step 9"
)


def corrections(**fields: Any) -> list[str]:  # noqa: ANN401  # fields of the call under test
    call: dict[str, Any] = {
        "workload": "market-classifier",
        "given": {"learning_rate": 0.001},
        "current": {"learning_rate": "0.001", "epochs": "3"},
    }
    return [str(c) for c in corrections_for(fields.pop("finding", CRITICAL), **(call | fields))]


def test_a_correction_is_an_absolute_value() -> None:
    assert corrections() == ["learning_rate 0.001 -> 0.0005"]


def test_it_goes_from_the_value_in_force_not_from_the_manifests() -> None:
    assert corrections(current={"learning_rate": "0.00025"}) == ["learning_rate 0.00025 -> 0.000125"]


def test_a_default_can_be_corrected_too() -> None:
    assert corrections(given={}) == ["learning_rate 0.001 -> 0.0005"]


def test_a_warning_corrects_nothing() -> None:
    warning = Finding(problem="gradient-explosion", reason="GradientExplosion", severity="warning", step=9, evidence="")
    assert corrections(finding=warning) == []


def test_a_problem_without_a_rule_corrects_nothing() -> None:
    other = Finding(problem="boredom", reason="Boredom", severity="critical", step=9, evidence="")
    assert corrections(finding=other) == []


@pytest.mark.parametrize(
    ("given", "current", "expected"),
    [
        ({"learning_rate": 1}, {"learning_rate": "1"}, ["learning_rate 1 -> 0.5"]),
        ({"learning_rate": 0.5}, {"learning_rate": "0.5"}, ["learning_rate 0.5 -> 0.25"]),
        ({"learning_rate": True}, {"learning_rate": "true"}, []),
        ({"learning_rate": "fast"}, {"learning_rate": "fast"}, []),
        ({"epochs": 3}, {"epochs": "3"}, []),
        ({}, {}, []),
    ],
)
def test_foreign_code_is_corrected_where_its_manifest_names_a_number(
    given: dict[str, Scalar], current: dict[str, str], expected: list[str]
) -> None:
    assert corrections(workload="custom", given=given, current=current) == expected
