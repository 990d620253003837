"""The number format of forward passes: float32, bfloat16 or float16 by autocast; weights and optimiser stay float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch

from trainmaster_trainer.errors import ConfigurationError

PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]

LOSS_SCALE: Final = 2.0**16
"""Where a float16 scaler begins, torch's own default; it halves at each overflow, so too high costs some steps only."""
_TYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """What a forward pass computes in on one device."""

    dtype: torch.dtype
    device_type: str

    @classmethod
    def choose(cls, name: PrecisionName, *, device: torch.device) -> Precision:
        """Carry out `name`; `auto` is bfloat16 on a GPU that computes it natively, float32 elsewhere.

        bfloat16 has the range of float32, so it needs no loss scaling and a whole class of failures is gone; a CPU
        without native bfloat16 is slower with it. Raises ConfigurationError for float16 on a CPU, where torch has no
        kernels for parts of the models.
        """
        if name == "auto":
            name = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
        if name == "float16" and device.type == "cpu":
            message = "hyperparameters.precision: float16 needs a GPU; on a CPU take bfloat16 or float32"
            raise ConfigurationError(message)
        return cls(dtype=_TYPES[name], device_type=device.type)

    @property
    def scales_loss(self) -> bool:
        """Whether gradients would underflow unless the loss is scaled: float16 only."""
        return self.dtype == torch.float16

    def autocast(self) -> torch.autocast:
        """A context in which forward passes compute in this format."""
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=self.dtype != torch.float32)


def choose_device(name: str, *, local_rank: int = 0) -> torch.device:
    """The device of this process; `auto` is a GPU where there is one. Raises ConfigurationError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        message = f"hyperparameters.device: {name} is not there: torch sees no GPU; take auto or cpu"
        raise ConfigurationError(message)
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
