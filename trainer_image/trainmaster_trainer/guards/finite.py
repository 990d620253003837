"""What is finite, decided on the device."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def is_finite(values: Tensor) -> Tensor:
    """Whether each value is neither NaN nor infinite.

    A comparison with NaN is false, so this takes two kernels where `torch.isfinite` takes four.
    """
    return values.abs() < math.inf


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Whether every element of all tensors is finite, as one boolean on their device; true for no tensors.

    Reads every element once: for log points and checkpoints, not for every step.
    """
    found = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not found:
        return torch.ones((), dtype=torch.bool)
    # The largest magnitude does not overflow, as a sum of squares would; a NaN is passed on.
    return is_finite(torch.nn.utils.get_total_norm(found, norm_type=math.inf))


def finite_parameters(model: nn.Module) -> Tensor:
    """Whether all weights of a model are finite, as one boolean on its device."""
    return all_finite(parameter.detach() for parameter in model.parameters())
