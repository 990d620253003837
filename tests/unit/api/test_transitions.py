"""What an update may change: the same as by the API server's rules."""

from __future__ import annotations

import pytest

from tests.support.manifest_cases import UPDATES, UpdateCase
from trainmaster.api.cel import TRAINING_RUN_RULES
from trainmaster.api.trainingrun import IMMUTABLE_MESSAGE, TrainingRunSpec
from trainmaster.api.transitions import judge_update


@pytest.mark.parametrize("case", UPDATES, ids=lambda case: case.name)
def test_exactly_the_named_fields_are_refused(case: UpdateCase) -> None:
    problems = judge_update(case.old, case.new)

    assert {problem.path for problem in problems} == {f"spec.{field}" for field in case.refused}


@pytest.mark.parametrize("case", UPDATES, ids=lambda case: case.name)
def test_models_are_judged_as_raw_specs_are(case: UpdateCase) -> None:
    old, new = TrainingRunSpec.model_validate(case.old), TrainingRunSpec.model_validate(case.new)

    assert judge_update(old, new) == judge_update(case.old, case.new)


def test_the_message_is_that_of_the_rule_and_names_both_ways_out() -> None:
    problem = judge_update({"workload": "custom", "command": ["a"]}, {"workload": "custom", "command": ["b"]})[0]

    assert problem.message == IMMUTABLE_MESSAGE
    assert "metadata.name" in problem.message
    assert "spec.rerun" in problem.message
    assert f"{problem.path} {problem.message}" in {rule.message for rule in TRAINING_RUN_RULES}


def test_names_that_a_newer_version_stored_are_no_change() -> None:
    old = {"workload": "custom", "command": ["a"], "future": {"x": 1}}

    assert judge_update(old, {"workload": "custom", "command": ["a"]}) == ()
