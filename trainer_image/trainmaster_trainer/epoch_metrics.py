"""What one epoch measured: typed, and JSON by construction, whatever the numbers are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.api.base import WireFloat


class EpochMetrics(BaseModel):
    """One epoch; numbers that are not finite stand as "NaN", "Inf" and "-Inf" in JSON, and come back as what they were.

    A number that nobody measured is NaN.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(ge=1, description="Number of the epoch, from 1.")
    step: int = Field(ge=0, description="Optimiser steps done.")
    train_loss: WireFloat = Field(description="Mean of the training loss, with dropout, noise and smoothing.")
    val_loss: WireFloat = Field(description="Log-loss on the validation rows, in nats.")
    val_acc: WireFloat = Field(description="Accuracy on the validation rows, 0 to 1.")
    val_f1: WireFloat = Field(description="Macro F1 on the validation rows, 0 to 1.")
    lr: WireFloat = Field(description="Learning rate of the last step, as the schedule has it.")
    grad_norm: WireFloat = Field(description="Mean norm of the gradient, before clipping.")
    seconds: WireFloat = Field(description="Time that the epoch took, validation included.")
    memory_bytes: WireFloat = Field(description="Largest memory of the process so far.")

    @classmethod
    def of_points(cls, *, epoch: int, step: int, validation: Mapping[str, float], train: Mapping[str, float]) -> Self:
        """From the metrics of an epoch's validation point and of the train point after it."""
        return cls(
            epoch=epoch,
            step=step,
            train_loss=validation.get("train_loss", math.nan),
            val_loss=validation.get("val_loss", math.nan),
            val_acc=validation.get("val_accuracy", math.nan),
            val_f1=validation.get("val_f1", math.nan),
            lr=validation.get("learning_rate", math.nan),
            grad_norm=validation.get("grad_norm", math.nan),
            seconds=train.get("epoch_seconds", math.nan),
            memory_bytes=train.get("max_rss_bytes", math.nan),
        )

    def shown(self) -> dict[str, float]:
        """What a progress line has room for."""
        return {
            "train_loss": self.train_loss,
            "val_loss": self.val_loss,
            "val_acc": self.val_acc,
            "val_f1": self.val_f1,
        }
