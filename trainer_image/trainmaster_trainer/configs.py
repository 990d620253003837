"""Typed configurations for training from Python: frozen, JSON round trip, misspelt names refused with the nearest one.

They hold what the manifest of a TrainingRun holds, under the same names: presets, hyperparameters, schedules, data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trainmaster.api.hyperparameters import ALIASES, Scalar
from trainmaster.api.market_hyperparameters import MarketModelHyperparameters, MarketTrainerHyperparameters
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster.api.presets import Part, find_preset, preset_problems, resolved
from trainmaster.api.problems import errors, refusal
from trainmaster.api.schedule_rules import schedule_problems
from trainmaster.api.wording import nearest
from trainmaster_trainer.errors import ConfigurationError

WORKLOAD: Final = "market-classifier"
DEFAULT_SOURCE: Final = "package://gym-anytrading/gym_anytrading/datasets/data/FOREX_EURUSD_1H_ASK.csv"
"""Hourly EUR/USD bars of a package that Trainmaster's own requirements bring: what the examples train on."""


class _Config(BaseModel):
    """Frozen; names that it does not know are refused with the nearest that it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest(cls, given: Any) -> Any:  # noqa: ANN401  # whatever a caller hands in
        known = {*cls.model_fields, *ALIASES[WORKLOAD]} if "lr_scheduler" in cls.model_fields else {*cls.model_fields}
        for name in given if isinstance(given, Mapping) else ():
            if name not in known:
                near = nearest(str(name), known)
                hint = f"did you mean {near}?" if near else f"known: {', '.join(sorted(known))}"
                raise PydanticCustomError(
                    "unknown_name",
                    "{config} has no {name}; {hint}",
                    {"config": cls.__name__, "name": name, "hint": hint},
                )
        return given

    def given(self) -> dict[str, Scalar]:
        """The values that were named, without defaults."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class _PartConfig(_Config):
    """The hyperparameters of one part; values that are not named are the preset's or the defaults."""

    part: ClassVar[Part]

    @model_serializer(mode="wrap")
    def _only_what_is_named(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Defaults are left out: read again, they would stand over the preset."""
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}

    @classmethod
    def of_preset(cls, name: str, **over: Scalar) -> Self:
        """The values of a preset, in any spelling of its name, with others over them.

        Raises pydantic's ValidationError on names and values that do not fit.
        """
        preset = find_preset(WORKLOAD, cls.part, name=name)
        if preset is None:
            raise refusal(tuple(preset_problems(WORKLOAD, {cls.part: name})))
        values = {parameter: choice.value for parameter, choice in preset.choices.items()}
        return cls.model_validate(values | over)


class ModelConfigV2(_PartConfig, MarketModelHyperparameters):
    """The model: width, layers, heads, dropout."""

    part: ClassVar[Part] = "model"


class TrainerConfigV2(_PartConfig, MarketTrainerHyperparameters):
    """Data, training and evaluation."""

    part: ClassVar[Part] = "trainer"


class OrchestratorConfig(_Config):
    """One training: presets, what stands over them, and the data."""

    model_preset: str | None = Field(
        None, description="Preset of the model, in any spelling, such as `production_small`; None: the defaults."
    )
    trainer_preset: str | None = Field(None, description="Preset of the trainer; None: the defaults.")
    model: ModelConfigV2 = Field(default_factory=ModelConfigV2, description="What stands over the model's preset.")
    trainer: TrainerConfigV2 = Field(
        default_factory=TrainerConfigV2, description="What stands over the trainer's preset."
    )
    parameter_schedules: tuple[ParameterSchedule, ...] = Field(
        (), description="How hyperparameters move over the training, as in spec.parameterSchedules."
    )
    source: str = Field(DEFAULT_SOURCE, description="The data, as spec.data.source names it.")
    feature_store_days: int | None = Field(
        None, ge=1, description="The newest so many days of the data; None: all of it."
    )
    volumes: dict[str, str] = Field(default_factory=dict, description="Folder of each claim that `pvc://` names.")
    output: str = Field(
        ".trainmaster/trainings", min_length=1, description="Folder for checkpoints and artifacts, or s3:// or gs://."
    )
    run_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Folder of the training below `output`; one that was interrupted goes on. None: a new one.",
    )
    threads: int = Field(
        1,
        ge=1,
        le=256,
        description="Threads on the CPU. Results are bit-exact for one number of them, and a small model gains nothing "
        "from a second.",
    )
    show_progress: bool = Field(default=True, description="Writes a progress line to standard error.")

    @field_validator("model_preset", "trainer_preset")
    @classmethod
    def _known_preset(cls, name: str | None, info: Any) -> str | None:  # noqa: ANN401  # pydantic's own type is generic
        part: Part = "model" if info.field_name == "model_preset" else "trainer"
        if name is None:
            return None
        for problem in preset_problems(WORKLOAD, {part: name}):
            raise PydanticCustomError(
                "unknown_preset", "{message}; {hint}", {"message": problem.message, "hint": problem.hint}
            )
        preset = find_preset(WORKLOAD, part, name=name)
        return name if preset is None else preset.name

    def hyperparameters(self) -> dict[str, Scalar]:
        """All of them: what is named over the presets over the defaults.

        Raises ConfigurationError where values or schedules do not fit each other.
        """
        named = (("model", self.model_preset), ("trainer", self.trainer_preset))
        presets = {part: name for part, name in named if name is not None}
        try:
            values = resolved(WORKLOAD, presets=presets, given={**self.model.given(), **self.trainer.given()})
            check_schedules(WORKLOAD, schedules=self.parameter_schedules, hyperparameters=values)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ConfigurationError(problems) from None
        return values


def check_schedules(
    workload: str, *, schedules: tuple[ParameterSchedule, ...], hyperparameters: Mapping[str, Scalar]
) -> None:
    """Raise ConfigurationError that names every problem of the schedules: an operator may be older than its trainer."""
    found = schedule_problems(workload, schedules=schedules, hyperparameters=hyperparameters)
    if problems := errors(found):
        raise ConfigurationError("; ".join(str(problem) for problem in problems))
