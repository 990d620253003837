"""The hyperparameters of the workload `market-classifier`: name, type, default, range and effect.

One field is one hyperparameter. Its description says what it does; `market_reasons` says why the v2 trainer has that
default and no other. `hyperparameters` gathers the workloads; `trainmaster explain hyperparameters` prints it all.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trainmaster.api.schedulers import Scheduler, canonical_scheduler

ALIASES: Final = {"scheduler_type": "lr_scheduler"}
"""Other names under which a hyperparameter may be given; results carry the second."""


class _Hyperparameters(BaseModel):
    """What both parts have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_boolean_as_number(cls, value: object, info: ValidationInfo) -> object:
        """Python's `True` is an integer, so `epochs: true` would silently train one epoch."""
        declared = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and declared in (int, float):
            raise PydanticCustomError("boolean_as_number", "must be a number")
        return value


class MarketModelHyperparameters(_Hyperparameters):
    """The hyperparameters of the model alone."""

    hidden_size: int = Field(
        48,
        ge=4,
        le=4_096,
        multiple_of=4,
        description="Channels of convolutions, LSTM and attention.",
    )
    lstm_layers: int = Field(
        1,
        ge=1,
        le=8,
        description="Stacked LSTM layers.",
    )
    attention_heads: int = Field(
        4,
        ge=1,
        le=64,
        description="Heads of self-attention; must divide `hidden_size`.",
    )
    dropout: float = Field(
        0.4,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="Share of activations dropped in training.",
    )

    @field_validator("attention_heads")
    @classmethod
    def _check_heads(cls, heads: int, info: ValidationInfo) -> int:
        hidden = info.data.get("hidden_size", heads)
        if hidden % heads:
            raise PydanticCustomError(
                "heads_divide_hidden_size",
                "must divide hidden_size: {hidden_size} is no multiple of {attention_heads}",
                {"hidden_size": hidden, "attention_heads": heads},
            )
        return heads


class MarketTrainerHyperparameters(_Hyperparameters):
    """The hyperparameters of data, training and evaluation."""

    epochs: int = Field(
        150,
        ge=1,
        le=100_000,
        description="Passes over the training windows.",
    )
    batch_size: int = Field(
        128,
        ge=1,
        le=65_536,
        description="Windows per optimiser step, over all micro-batches and processes together.",
    )
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        le=4_096,
        description="Micro-batches that one optimiser step is computed in, each of batch_size divided by this number "
        "of windows; must divide `batch_size`. Memory falls, the result stays.",
    )
    learning_rate: float = Field(
        5e-5,
        gt=0,
        le=10,
        allow_inf_nan=False,
        description="Base learning rate of AdamW; schedule and guards multiply it.",
    )
    min_learning_rate: float = Field(
        1e-7,
        ge=0,
        le=10,
        allow_inf_nan=False,
        validate_default=True,
        description="Floor below which the guards lower no base learning rate; at most `learning_rate`.",
    )
    weight_decay: float = Field(
        0.01,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="Decoupled weight decay of AdamW.",
    )
    lr_scheduler: Scheduler = Field(
        "cosine-annealing-warm-restarts",
        description="Shape of the learning rate over time. `scheduler_type` is another name for it, and torch's names "
        "are understood (`CosineAnnealingWarmRestarts`, `ReduceLROnPlateau`). `linear` and `cosine` fall to 0 over "
        "all epochs, `exponential` to 1 %, `step` by scheduler_gamma, `plateau` by lr_plateau_factor.",
    )
    scheduler_t_0: int = Field(
        10,
        ge=1,
        le=100_000,
        description="Epochs of the first cosine cycle of `cosine-annealing-warm-restarts`.",
    )
    scheduler_t_mult: int = Field(
        2,
        ge=1,
        le=1_000,
        description="Each cosine cycle is this many times longer than the last.",
    )
    scheduler_step_size: int = Field(
        50,
        ge=1,
        le=100_000,
        description="Epochs between two drops of the scheduler `step`.",
    )
    scheduler_gamma: float = Field(
        0.1,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="What the scheduler `step` multiplies the learning rate with at each drop.",
    )
    warmup_epochs: int = Field(
        5,
        ge=1,
        le=100_000,
        validate_default=True,
        description="Epochs in which the scheduler `warmup-cosine` rises from 0 to the base learning rate; fewer than "
        "`epochs`.",
    )
    early_stopping_patience: int = Field(
        20,
        ge=0,
        le=100_000,
        description="Validations in a row without a better validation loss after which training ends; 0: never.",
    )
    lr_plateau_patience: int = Field(
        10,
        ge=1,
        le=100_000,
        description="Validations without a better validation loss after which the learning rate is lowered.",
    )
    lr_plateau_factor: float = Field(
        0.5,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="What the learning rate is multiplied with on a plateau.",
    )
    emergency_lr_factor: float = Field(
        0.1,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="What the learning rate is multiplied with on a loss that is not finite or explodes.",
    )
    max_lr_rescues: int = Field(
        3,
        ge=0,
        le=1_000,
        description="Emergency cuts of the learning rate at most, in one training; 0: none.",
    )
    max_grad_norm: float = Field(
        5.0,
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="Gradients are clipped to this norm at most; the norm is reported unclipped.",
    )
    adaptive_clipping: bool = Field(
        default=True,
        description="Clips to a robust threshold learnt from recent norms, never above `max_grad_norm`; false: to "
        "`max_grad_norm` alone.",
    )
    emergency_grad_norm: float = Field(
        1_000.0,
        gt=0,
        le=1e12,
        allow_inf_nan=False,
        description="Gradient norm, before clipping, from which a step counts as an emergency: the clipping threshold "
        "is halved and the learning rate is rescued.",
    )
    quarantine: bool = Field(
        default=True,
        description="Windows whose own loss is not finite are left out of later batches.",
    )
    label_smoothing: float = Field(
        0.1,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="Probability mass of a label that is spread over all classes.",
    )
    use_augmentation: bool = Field(
        default=True,
        description="Adds noise to the features of training windows, anew each time they are seen.",
    )
    gaussian_noise_std: float = Field(
        0.01,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="Standard deviation of that noise, in standard deviations of each feature.",
    )
    use_focal_loss: bool = Field(
        default=True,
        description="Weighs the loss of each window by (1 - probability of its class) to the power focal_gamma.",
    )
    focal_gamma: float = Field(
        2.5,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="Power of the focal loss; 0 is plain cross entropy.",
    )
    use_oversampling: bool = Field(
        default=True,
        description="Repeats training windows of rare classes within an epoch; validation and test rows never.",
    )
    oversample_ratio: float = Field(
        0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Classes below this share of the largest class's windows are raised to it by repetition.",
    )
    use_class_weights: bool = Field(
        default=False,
        description="Weighs the loss of a window by the rarity of its class.",
    )
    window: int = Field(
        24,
        ge=4,
        le=4_096,
        description="Bars that the model sees for one prediction.",
    )
    horizon: int = Field(
        1,
        ge=1,
        le=1_000,
        description="Bars ahead that the label looks.",
    )
    dead_zone: float = Field(
        0.43,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="Half-width of the class `flat`, in volatilities of the horizon; 0 makes two classes.",
    )
    validation_share: float = Field(
        0.1,
        gt=0,
        lt=0.5,
        allow_inf_nan=False,
        description="Share of the bars, before the test block, to validate on.",
    )
    test_share: float = Field(
        0.2,
        gt=0,
        lt=0.5,
        allow_inf_nan=False,
        description="Share of the bars, the newest, to test on.",
    )
    embargo: int = Field(
        24,
        ge=0,
        le=10_000,
        description="Bars left out between training, validation and test blocks.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format of activations; `auto` is bfloat16 on a GPU that has it and float32 elsewhere. "
        "Weights and optimiser stay in float32.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where to train; `auto` takes a GPU if the process has one.",
    )
    leak_audit: bool = Field(
        default=True,
        description="Checks split, scaler and sampler, and trains a memorising model on coin flips: it must not win.",
    )
    evaluation: Literal["full", "brief"] = Field(
        "full",
        description="`brief` leaves out what takes seconds and judges nothing but the scores: fitted baselines, "
        "pictures, ONNX export and leak audit; for trials of a study.",
    )
    export_onnx: bool = Field(
        default=True,
        description="Exports the best weights to ONNX after training, if their outputs agree.",
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Seed of initial weights, order of samples, dropout and noise.",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_other_names(cls, given: Any) -> Any:  # noqa: ANN401  # whatever a caller hands in
        """A hyperparameter by another of its names; both at once may not contradict each other."""
        if not isinstance(given, dict) or not ALIASES.keys() & given.keys():
            return given
        values = dict(given)
        for alias, name in ALIASES.items():
            if alias in values:
                value = values.pop(alias)
                if name in values and canonical_scheduler(values[name]) != canonical_scheduler(value):
                    raise PydanticCustomError(
                        "two_names", "{alias} is another name of {name}: give one", {"alias": alias, "name": name}
                    )
                values[name] = value
        return values

    @field_validator("warmup_epochs")
    @classmethod
    def _check_warmup(cls, warmup: int, info: ValidationInfo) -> int:
        epochs = info.data.get("epochs")
        if info.data.get("lr_scheduler") == "warmup-cosine" and epochs is not None and warmup >= epochs:
            raise PydanticCustomError(
                "warmup_too_long", "must be less than epochs, {epochs}, for warmup-cosine", {"epochs": epochs}
            )
        return warmup

    @field_validator("gradient_accumulation_steps")
    @classmethod
    def _check_accumulation(cls, steps: int, info: ValidationInfo) -> int:
        batch = info.data.get("batch_size", steps)
        if batch % steps:
            raise PydanticCustomError(
                "steps_divide_batch_size",
                "must divide batch_size: {batch_size} is no multiple of {steps}",
                {"batch_size": batch, "steps": steps},
            )
        return steps

    @field_validator("min_learning_rate")
    @classmethod
    def _check_floor(cls, floor: float, info: ValidationInfo) -> float:
        base = info.data.get("learning_rate", floor)
        if floor > base:
            raise PydanticCustomError(
                "floor_above_rate", "must be at most learning_rate, {learning_rate}", {"learning_rate": base}
            )
        return floor


class MarketClassifierHyperparameters(MarketModelHyperparameters, MarketTrainerHyperparameters):
    """Hyperparameters of the workload `market-classifier`."""
