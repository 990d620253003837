from __future__ import annotations

import re
from typing import Any

import pytest

from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.hyperparameters import checked_hyperparameters


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "hyperparameters.epochs: Input should be greater than or equal to 1, got 0"),
        ({"learning_rate": -1}, "hyperparameters.learning_rate: Input should be greater than 0, got -1"),
        ({"learning_rate": "fast"}, "hyperparameters.learning_rate: .*got 'fast'"),
        ({"learning_rate": float("nan")}, "hyperparameters.learning_rate: "),
        ({"dropout": 1.0}, "hyperparameters.dropout: Input should be less than 1, got 1.0"),
        ({"lr_scheduler": "magic"}, "hyperparameters.lr_scheduler: .*got 'magic'"),
        ({"attention_heads": 5}, "hyperparameters.*48 is no multiple of 5"),
        ({"gradient_accumulation_steps": 3}, "128 is no multiple of 3, got 3"),
        ({"lr_scheduler": "constant", "scheduler_type": "cosine"}, "scheduler_type is another name of lr_scheduler"),
        (
            {"learning_rat": 1},
            "hyperparameters.learning_rat: market-classifier has no such hyperparameter .*learning_rate",
        ),
        ({"epochs": 0, "window": 1}, "hyperparameters.epochs: .*; hyperparameters.window: "),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        checked_hyperparameters("market-classifier", given=given)

    assert re.search(message, str(refusal.value))


def test_what_is_not_given_has_its_default_and_text_is_a_number() -> None:
    values = checked_hyperparameters("market-classifier", given={"learning_rate": "5e-4"})

    assert (values["learning_rate"], values["batch_size"], values["window"]) == (5e-4, 128, 24)
