"""The catalogue of hyperparameters: every one is explained, in range, and known by the names that people use."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainmaster.api.hyperparameters import (
    ALIASES,
    CATALOGUE,
    PLANNED,
    REASONS,
    SCHEDULABLE,
    MarketClassifierHyperparameters,
    Scalar,
    effective,
)

MARKET = "market-classifier"


@pytest.mark.parametrize("workload", CATALOGUE)
def test_every_hyperparameter_has_an_effect_in_words_and_a_reason_for_its_default(workload: str) -> None:
    fields = CATALOGUE[workload].model_fields

    assert REASONS[workload].keys() == fields.keys()
    for name, field in fields.items():
        assert (field.description or "").endswith("."), name
        assert REASONS[workload][name].endswith("."), name


def test_defaults_are_those_of_the_source() -> None:
    values = effective(MARKET, {})

    assert (values["epochs"], values["batch_size"]) == (150, 128)
    assert (values["learning_rate"], values["weight_decay"]) == (5e-5, 0.01)
    assert values["early_stopping_patience"] == 20
    assert values["lr_scheduler"] == "cosine-annealing-warm-restarts"
    assert (values["scheduler_t_0"], values["scheduler_t_mult"]) == (10, 2)
    assert (values["dropout"], values["label_smoothing"]) == (0.4, 0.1)
    assert (values["use_augmentation"], values["gaussian_noise_std"]) == (True, 0.01)
    assert (values["use_focal_loss"], values["focal_gamma"]) == (True, 2.5)
    assert (values["use_oversampling"], values["oversample_ratio"]) == (True, 0.5)


def test_nothing_of_the_market_workload_is_without_code() -> None:
    assert PLANNED[MARKET] == frozenset()


@pytest.mark.parametrize("workload", CATALOGUE)
def test_what_can_be_scheduled_or_has_two_names_is_a_hyperparameter(workload: str) -> None:
    fields = CATALOGUE[workload].model_fields

    assert set(SCHEDULABLE[workload]) | set(ALIASES[workload].values()) <= fields.keys()
    assert all(fields[name].annotation is float for name in SCHEDULABLE[workload])
    assert not ALIASES[workload].keys() & fields.keys()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("CosineAnnealingWarmRestarts", "cosine-annealing-warm-restarts"),
        ("cosine_annealing_warm_restarts", "cosine-annealing-warm-restarts"),
        ("CosineAnnealingLR", "cosine"),
        ("ReduceLROnPlateau", "plateau"),
        ("StepLR", "step"),
        ("ExponentialLR", "exponential"),
        ("linear", "linear"),
        ("warmup_cosine", "warmup-cosine"),
        ("None", "constant"),
    ],
)
@pytest.mark.parametrize("name", ["lr_scheduler", "scheduler_type"])
def test_a_scheduler_has_one_value_under_all_its_names(name: str, given: str, meant: str) -> None:
    values = effective(MARKET, {name: given})

    assert values["lr_scheduler"] == meant
    assert "scheduler_type" not in values


def test_both_names_of_the_scheduler_may_say_the_same() -> None:
    values = effective(MARKET, {"lr_scheduler": "StepLR", "scheduler_type": "step"})

    assert values["lr_scheduler"] == "step"


def test_both_names_of_the_scheduler_must_not_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="scheduler_type is another name of lr_scheduler: give one"):
        effective(MARKET, {"lr_scheduler": "step", "scheduler_type": "linear"})


def test_micro_batches_must_make_up_the_batch() -> None:
    assert effective(MARKET, {"batch_size": 96, "gradient_accumulation_steps": 3})["gradient_accumulation_steps"] == 3
    with pytest.raises(ValidationError, match="must divide batch_size: 100 is no multiple of 3"):
        effective(MARKET, {"batch_size": 100, "gradient_accumulation_steps": 3})


def test_a_warm_up_must_end_before_the_training_does_where_there_is_one() -> None:
    assert effective(MARKET, {"epochs": 3})["warmup_epochs"] == 5
    assert effective(MARKET, {"epochs": 3, "lr_scheduler": "warmup-cosine", "warmup_epochs": 2})["epochs"] == 3
    with pytest.raises(ValidationError, match="must be less than epochs, 3, for warmup-cosine"):
        effective(MARKET, {"epochs": 3, "lr_scheduler": "warmup-cosine"})


def test_the_floor_lies_below_the_rate() -> None:
    assert effective(MARKET, {"learning_rate": 1e-8, "min_learning_rate": 0})["learning_rate"] == 1e-8
    for given in ({"learning_rate": 1e-8}, {"learning_rate": 1e-4, "min_learning_rate": 1e-3}):
        with pytest.raises(ValidationError, match="must be at most learning_rate"):
            effective(MARKET, given)


@pytest.mark.parametrize("given", [{}, {"learning_rate": 1e-3}, {"scheduler_type": "StepLR"}, {"epochs": 1}])
def test_what_a_plan_freezes_is_valid_again_where_it_is_read(given: dict[str, Scalar]) -> None:
    values = effective(MARKET, given)

    assert effective(MARKET, values) == values


def test_values_survive_a_round_trip() -> None:
    model = MarketClassifierHyperparameters.model_validate({"scheduler_type": "linear", "dropout": "0.1"})

    assert MarketClassifierHyperparameters.model_validate_json(model.model_dump_json()) == model
