"""Names that were meant, and values as messages quote them."""

from __future__ import annotations

import pytest

from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.problems import Problem, field_path, show
from trainmaster.api.wording import nearest

NAMES = tuple(MarketClassifierHyperparameters.model_fields)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("learning_rte", "learning_rate"),
        ("learningRate", "learning_rate"),
        ("LEARNING-RATE", "learning_rate"),
        ("lr", "learning_rate"),
        ("wd", "weight_decay"),
        ("bs", "batch_size"),
        ("epoch", "epochs"),
        ("schedulerT0", "scheduler_t_0"),
        ("zebra", None),
        ("x", None),
    ],
)
def test_the_nearest_name(given: str, meant: str | None) -> None:
    assert nearest(given, NAMES) == meant


def test_paths_as_people_write_them() -> None:
    assert field_path(("spec", "env", 0, "name")) == "spec.env[0].name"
    assert field_path(("metadata", "labels", "a.b/c")) == 'metadata.labels["a.b/c"]'
    assert field_path(()) == ""


def test_values_are_quoted_short_and_in_ascii() -> None:
    assert show("a" * 1000).endswith("...")
    assert len(show("a" * 1000)) < 70
    assert show("\x1b[31m").isascii()
    assert show({"a": 1}) == "a mapping"


def test_a_problem_in_one_line() -> None:
    problem = Problem(path="spec.x", value=-1, message="must be at least 0", hint="write 0")

    assert str(problem) == "spec.x: must be at least 0 (got -1); write 0"
    assert str(Problem(message="holds no object")) == "holds no object"
