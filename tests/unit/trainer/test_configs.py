"""Configurations from Python: the user's old calls, refusals with the nearest name, and a round trip through JSON."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from trainmaster.api.hyperparameters import effective
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster_trainer.configs import ModelConfigV2, OrchestratorConfig, TrainerConfigV2, check_schedules
from trainmaster_trainer.errors import ConfigurationError

MARKET = "market-classifier"


def test_the_call_of_the_source_works() -> None:
    config = OrchestratorConfig(
        model_preset="production_small", trainer_preset="production_small", feature_store_days=30
    )

    values = config.hyperparameters()
    assert (config.model_preset, config.trainer_preset) == ("production-small", "production-small")
    assert (values["hidden_size"], values["learning_rate"]) == (48, 0.001)


def test_without_presets_the_defaults_are_trained() -> None:
    assert OrchestratorConfig().hyperparameters() == effective(MARKET, {})


def test_what_is_named_stands_over_presets_and_nothing_else_does() -> None:
    config = OrchestratorConfig(
        model_preset="development",
        trainer_preset="calibrated",
        model=ModelConfigV2(dropout=0.25),
        trainer=TrainerConfigV2(epochs=2),
    )

    values = config.hyperparameters()

    assert (values["dropout"], values["hidden_size"]) == (0.25, 16)
    assert (values["epochs"], values["use_focal_loss"], values["learning_rate"]) == (2, False, 0.001)


@pytest.mark.parametrize(
    "config",
    [
        OrchestratorConfig(),
        OrchestratorConfig(model_preset="production-small", trainer=TrainerConfigV2(epochs=3)),
        OrchestratorConfig(
            trainer=TrainerConfigV2.of_preset("calibrated", lr_scheduler="constant"),
            parameter_schedules=(ParameterSchedule(parameter="learning_rate", strategy="linear", to="1e-5"),),
            volumes={"bars": "somewhere"},
        ),
    ],
)
def test_it_comes_back_from_json_as_it_was(config: OrchestratorConfig) -> None:
    again = OrchestratorConfig.model_validate_json(config.model_dump_json())

    assert again == config
    assert again.hyperparameters() == config.hyperparameters()
    assert again.model_dump_json() == config.model_dump_json()


def test_nobody_can_change_it() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainerConfigV2().epochs = 3  # type: ignore[misc]  # that mypy refuses it, too, is the point


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (TrainerConfigV2, {"learning_rat": 1}, "TrainerConfigV2 has no learning_rat; did you mean learning_rate"),
        (ModelConfigV2, {"hiden_size": 1}, "ModelConfigV2 has no hiden_size; did you mean hidden_size"),
        (ModelConfigV2, {"epochs": 1}, "ModelConfigV2 has no epochs; known: attention_heads, dropout"),
        (OrchestratorConfig, {"model_presets": "x"}, "has no model_presets; did you mean model_preset"),
        (OrchestratorConfig, {"model_preset": "prod-smal"}, "no preset of this name; did you mean"),
        (OrchestratorConfig, {"trainer_preset": "xyz"}, "no preset of this name; there are development"),
        (OrchestratorConfig, {"feature_store_days": 0}, "greater than or equal to 1"),
        (OrchestratorConfig, {"run_name": "../x"}, "should match pattern"),
        (TrainerConfigV2, {"epochs": True}, "must be a number"),
    ],
)
def test_what_does_not_fit_is_refused(config: type[Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**given)


def test_both_names_of_the_scheduler_are_understood() -> None:
    assert TrainerConfigV2.model_validate({"scheduler_type": "StepLR"}).given() == {"lr_scheduler": "step"}


def test_values_that_do_not_fit_each_other_are_refused_by_name() -> None:
    config = OrchestratorConfig(model_preset="source-v2", model=ModelConfigV2(hidden_size=44))

    with pytest.raises(ConfigurationError, match="attention_heads: must divide hidden_size: 44 is no multiple of 8"):
        config.hyperparameters()


def test_a_part_can_be_made_of_a_preset() -> None:
    assert ModelConfigV2.of_preset("source_v2", dropout=0.2) == ModelConfigV2(
        hidden_size=256, lstm_layers=2, attention_heads=8, dropout=0.2
    )
    with pytest.raises(ValidationError, match="no preset of this name"):
        ModelConfigV2.of_preset("huge")


def test_schedules_that_a_manifest_could_not_have_are_refused_here_too() -> None:
    rate = ParameterSchedule(parameter="learning_rate", strategy="linear", to="0")

    with pytest.raises(ConfigurationError, match="has two owners"):
        OrchestratorConfig(parameter_schedules=(rate,)).hyperparameters()
    step = ParameterSchedule(parameter="dropout", strategy="step", every=1)
    with pytest.raises(ConfigurationError, match=r"parameterSchedules\[0\].multiply: is required by strategy step"):
        check_schedules(MARKET, schedules=(step,), hyperparameters=effective(MARKET, {}))


def test_a_configuration_does_not_wait_for_torch() -> None:
    code = "import sys, trainmaster_trainer.orchestrator as o; o.OrchestratorConfig(); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
