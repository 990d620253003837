"""Presets: they fit, they say why and what they cost, and hyperparameters stand over them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainmaster.api.hyperparameters import CATALOGUE, Scalar, effective
from trainmaster.api.presets import PARTS, PRESETS, Part, find_preset, over_presets, resolved

MARKET = "market-classifier"
ALL = [(part, name) for part in PARTS for name in PRESETS[MARKET][part]]


@pytest.mark.parametrize(("part", "name"), ALL)
def test_a_preset_fits_and_says_for_whom_at_what_cost_and_why(part: Part, name: str) -> None:
    preset = PRESETS[MARKET][part][name]

    values = resolved(MARKET, presets={part: name}, given={})

    assert preset.name == name
    assert preset.purpose.endswith(".")
    assert preset.cost.endswith(".")
    assert preset.choices.keys() <= CATALOGUE[MARKET].model_fields.keys()
    for parameter, choice in preset.choices.items():
        assert values[parameter] == choice.value
        assert choice.reason.endswith("."), parameter


@pytest.mark.parametrize("model", PRESETS[MARKET]["model"])
@pytest.mark.parametrize("trainer", PRESETS[MARKET]["trainer"])
def test_every_model_goes_with_every_trainer(model: str, trainer: str) -> None:
    model_choices = PRESETS[MARKET]["model"][model].choices
    trainer_choices = PRESETS[MARKET]["trainer"][trainer].choices

    assert not model_choices.keys() & trainer_choices.keys()
    assert resolved(MARKET, presets={"model": model, "trainer": trainer}, given={})


def test_the_trainer_of_the_source_has_the_sources_values() -> None:
    assert resolved(MARKET, presets={"trainer": "source-v2"}, given={}) == effective(MARKET, {})


def test_both_parts_have_the_presets_of_the_same_purpose() -> None:
    assert PRESETS[MARKET]["model"].keys() < PRESETS[MARKET]["trainer"].keys()


@pytest.mark.parametrize("name", ["production-small", "production_small", "ProductionSmall", "PRODUCTION-SMALL"])
def test_a_name_may_be_spelt_in_many_ways(name: str) -> None:
    assert find_preset(MARKET, "trainer", name=name) is PRESETS[MARKET]["trainer"]["production-small"]


def test_hyperparameters_stand_over_presets_and_presets_over_defaults() -> None:
    values = resolved(MARKET, presets={"model": "development", "trainer": "calibrated"}, given={"dropout": 0.25})

    assert (values["dropout"], values["hidden_size"], values["use_focal_loss"], values["batch_size"]) == (
        0.25,
        16,
        False,
        128,
    )


def test_another_name_of_a_hyperparameter_stands_over_the_preset_too() -> None:
    values = resolved(MARKET, presets={"trainer": "calibrated"}, given={"scheduler_type": "StepLR"})

    assert values["lr_scheduler"] == "step"


def test_what_is_given_is_kept_as_it_was_written() -> None:
    given: dict[str, Scalar] = {"learning_rate": "5e-5", "no_such": 1}

    assert over_presets(MARKET, presets={"trainer": "development"}, given=given).items() >= given.items()


def test_a_preset_that_does_not_exist_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValidationError, match=r'spec.presets.model: no preset of this name .* "production-small"'):
        resolved(MARKET, presets={"model": "production-smal"}, given={})


def test_foreign_code_has_no_presets() -> None:
    with pytest.raises(ValidationError, match="workload custom has no presets"):
        resolved("custom", presets={"trainer": "development"}, given={})
