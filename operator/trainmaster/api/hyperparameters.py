"""What each workload understands as hyperparameters: names, types, ranges, defaults and their reasons.

The catalogue is a pydantic model per workload. A manifest names some values; the rest are defaults; what results is
frozen in the plan. Names that REQUIREMENTS knows but this version has no code for are listed in `PLANNED`, so that
they are refused by name instead of being taken for a misspelling.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

Scalar = int | float | str | bool


def _scheduler(value: object) -> object:
    """Spelling variants of a scheduler's name map to one value."""
    if not isinstance(value, str):
        return value
    folded = value.replace("_", "").replace("-", "").replace(" ", "").lower()
    return _SCHEDULERS.get(folded, value)


_SCHEDULERS = {
    "constant": "constant",
    "none": "constant",
    "cosineannealingwarmrestarts": "cosine-annealing-warm-restarts",
    "cosinewarmrestarts": "cosine-annealing-warm-restarts",
}

Scheduler = Annotated[Literal["constant", "cosine-annealing-warm-restarts"], BeforeValidator(_scheduler)]


class MarketClassifierHyperparameters(BaseModel):
    """Hyperparameters of the workload `market-classifier`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(150, ge=1, le=100_000, description="Passes over the training windows.")
    batch_size: int = Field(128, ge=1, le=65_536, description="Windows per optimiser step.")
    learning_rate: float = Field(
        5e-5, gt=0, le=10, allow_inf_nan=False, description="Base learning rate of AdamW; the schedule multiplies it."
    )
    weight_decay: float = Field(0.01, ge=0, le=10, allow_inf_nan=False, description="Decoupled weight decay of AdamW.")
    lr_scheduler: Scheduler = Field(
        "cosine-annealing-warm-restarts",
        description="Shape of the learning rate over time: `constant` or `cosine-annealing-warm-restarts`.",
    )
    scheduler_t_0: int = Field(10, ge=1, description="Epochs of the first cosine cycle.")
    scheduler_t_mult: int = Field(2, ge=1, description="Each cosine cycle is this many times longer than the last.")
    max_grad_norm: float = Field(
        5.0,
        gt=0,
        allow_inf_nan=False,
        description="Gradients are clipped to this norm; the norm is reported unclipped.",
    )
    dropout: float = Field(0.4, ge=0, lt=1, description="Share of activations dropped in training.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Probability mass spread over the other classes.")
    window: int = Field(24, ge=4, le=4_096, description="Bars that the model sees for one prediction.")
    horizon: int = Field(1, ge=1, le=1_000, description="Bars ahead that the label looks.")
    dead_zone: float = Field(
        0.43,
        ge=0,
        le=10,
        description="Half-width of the class `flat`, in volatilities of the horizon; 0 makes two classes. "
        "0.43 gives thirds for normal returns.",
    )
    hidden_size: int = Field(
        48, ge=4, le=4_096, multiple_of=4, description="Channels of convolutions, LSTM and attention."
    )
    lstm_layers: int = Field(1, ge=1, le=8, description="Stacked LSTM layers.")
    attention_heads: int = Field(4, ge=1, le=64, description="Heads of self-attention; must divide `hidden_size`.")
    validation_share: float = Field(
        0.1, gt=0, lt=0.5, description="Share of the bars, before the test block, to validate on."
    )
    test_share: float = Field(0.2, gt=0, lt=0.5, description="Share of the bars, the newest, to test on.")
    embargo: int = Field(24, ge=0, le=10_000, description="Bars left out between training, validation and test blocks.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of initial weights, order of samples and dropout.")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_boolean_as_number(cls, value: object, info: ValidationInfo) -> object:
        """Python's `True` is an integer, so `epochs: true` would silently train one epoch."""
        declared = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and declared in (int, float):
            raise PydanticCustomError("boolean_as_number", "must be a number")
        return value

    @model_validator(mode="after")
    def _check_heads(self) -> MarketClassifierHyperparameters:
        if self.hidden_size % self.attention_heads:
            raise PydanticCustomError(
                "heads_divide_hidden_size",
                "must divide hidden_size: {hidden_size} is no multiple of {attention_heads}",
                {"hidden_size": self.hidden_size, "attention_heads": self.attention_heads},
            )
        return self


class CustomHyperparameters(BaseModel):
    """Hyperparameters of the workload `custom`: whatever the foreign code reads from its plan."""

    model_config = ConfigDict(frozen=True, extra="allow")


CATALOGUE: dict[str, type[BaseModel]] = {
    "market-classifier": MarketClassifierHyperparameters,
    "custom": CustomHyperparameters,
}

PLANNED: dict[str, frozenset[str]] = {
    "market-classifier": frozenset(
        {
            "early_stopping_patience",
            "focal_gamma",
            "gaussian_noise_std",
            "gradient_accumulation",
            "mixed_precision",
            "oversample_ratio",
            "scheduler_type",
            "use_augmentation",
            "use_focal_loss",
            "use_oversampling",
        }
    ),
    "custom": frozenset(),
}

ADJUSTABLE: dict[str, frozenset[str]] = {"market-classifier": frozenset({"learning_rate"}), "custom": frozenset()}
"""Hyperparameters that a directive may set in a living process; `custom` takes any number that its manifest names."""


def effective(workload: str, given: dict[str, Scalar]) -> dict[str, Scalar]:
    """All hyperparameters of a workload: the given values over the defaults, typed.

    `"5e-5"` and `5e-5` mean the same. Raises pydantic's ValidationError on names and values that do not fit.
    """
    model: Any = CATALOGUE[workload].model_validate(given)
    values: dict[str, Scalar] = model.model_dump()
    return values


def is_adjustable(workload: str, *, name: str, given: dict[str, Scalar]) -> bool:
    """Whether a directive may set this hyperparameter while the process lives."""
    if workload == "custom":
        return _is_number(given.get(name))
    return name in ADJUSTABLE[workload]


def _is_number(value: Scalar | None) -> bool:
    """Whether a value is a finite number, or a string that says one: `5e-5` is a string to YAML."""
    if value is None or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
