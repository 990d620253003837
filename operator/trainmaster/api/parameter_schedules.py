"""`spec.parameterSchedules`: how a hyperparameter moves over the training.

One entry moves one hyperparameter over one stretch of the training. Several entries of one hyperparameter follow each
other: where an entry names no `from`, it begins at the value that the one before it left, or at the hyperparameter's
own value. Before the first entry the hyperparameter has its own value; after an entry it keeps the entry's last.

A correction (a directive) that multiplies a hyperparameter multiplies its schedules with it.

`schedule_rules` judges entries offline; `trainmaster_trainer.parameters` carries them out.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from trainmaster.api.base import ApiModel

NUMBER_PATTERN: Final = r"^([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$"
"""A number of 0 or more, as text: typed fields hold no floats, so that writers never disagree about digits."""
MAX_SCHEDULES: Final = 32
"""Entries of one run: every schedulable hyperparameter can have four and more."""

_LONGEST_NUMBER: Final = 32
_LONGEST_STRETCH: Final = 10**9

Strategy = Literal["linear", "exponential", "cosine", "step", "plateau", "warmup", "warmup-cosine"]
"""How a value gets from its beginning to its end."""


class ParameterSchedule(ApiModel):
    """One hyperparameter over one stretch of the training."""

    parameter: str = Field(
        max_length=64, description="Hyperparameter to move; docs/reference/hyperparameters.md says which can be."
    )
    strategy: Strategy = Field(
        description="`linear`, `exponential` (equal ratios) and `cosine` (half a wave) go from `from` to `to`; `step` "
        "and `plateau` multiply by `multiply`, every so often or when validation gets no better; `warmup` rises to the "
        "hyperparameter's own value; `warmup-cosine` rises, then falls."
    )
    from_: str | None = Field(
        None,
        alias="from",
        max_length=_LONGEST_NUMBER,
        pattern=NUMBER_PATTERN,
        description="Value at `start`, a number in quotes. Absent: 0 for the warm-ups, else the value before it.",
    )
    to: str | None = Field(
        None,
        max_length=_LONGEST_NUMBER,
        pattern=NUMBER_PATTERN,
        description="Value at `end`, a number in quotes; for `step` and `plateau` the value that they do not pass. "
        "Absent: 0 for `cosine` and `warmup-cosine`, the hyperparameter's own value for `warmup`.",
    )
    unit: Literal["epochs", "steps"] = Field(
        "epochs", description="What `start`, `end`, `every` and `warmup` count; absent: epochs."
    )
    start: int = Field(
        0, ge=0, le=_LONGEST_STRETCH, description="Epochs or steps done when the entry begins; absent: 0."
    )
    end: int | None = Field(
        None,
        ge=1,
        le=_LONGEST_STRETCH,
        description="Epochs or steps done when it has ended. Absent: the end of the training.",
    )
    every: int | None = Field(
        None,
        ge=1,
        le=_LONGEST_STRETCH,
        description="For `step`: epochs or steps between two drops. For `cosine`: length of the first cycle, after "
        "which the value begins again at `from`; absent there: no restarts.",
    )
    growth: int | None = Field(
        None, ge=1, le=1_000, description="For `cosine` with `every`: each cycle is so many times longer than the last."
    )
    multiply: str | None = Field(
        None,
        max_length=_LONGEST_NUMBER,
        pattern=NUMBER_PATTERN,
        description="For `step` and `plateau`: what each drop multiplies the value with, a number in quotes.",
    )
    patience: int | None = Field(
        None,
        ge=0,
        le=_LONGEST_STRETCH,
        description="For `plateau`: validations in a row without a better validation loss that it bears.",
    )
    warmup: int | None = Field(
        None, ge=1, le=_LONGEST_STRETCH, description="For `warmup-cosine`: epochs or steps in which the value rises."
    )
