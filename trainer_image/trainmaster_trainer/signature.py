"""What a model looks like from outside: names and shapes of its parameters, and whether its numbers are numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from trainmaster_trainer.errors import ConfigurationError

MOST_NAMED: Final = 3
"""Parameters that a refusal names: the first few show what differs, a list of hundreds hides it."""


def model_signature(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and shapes of a state dict, in its order of names; values and types do not count."""
    lines = (f"{name} {tuple(value.shape)}\n" for name, value in sorted(weights.items()) if isinstance(value, Tensor))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def refuse_another_shape(saved: Mapping[str, Tensor], model: Mapping[str, Tensor], *, path: str) -> None:
    """Compare the weights of checkpoint `path` with a model's state dict.

    Raises ConfigurationError that names the parameters that differ, with both shapes.
    """
    differences = list(_differences(saved, model))
    if not differences:
        return
    more = len(differences) - MOST_NAMED
    named = "; ".join(differences[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
    message = (
        f"checkpoint {path} is of another model: {named}. Put back the hyperparameters that shape the model, or change "
        "spec.rerun to train again from the start"
    )
    raise ConfigurationError(message)


def _differences(saved: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> Iterator[str]:
    # A module's extra state stands among the tensors of a state dict, as any object: it counts as a shape of no length.
    for name, value in model.items():
        if name not in saved:
            yield f"{name} {_shape(value)} is in the model, not in the checkpoint"
        elif _shape(saved[name]) != _shape(value):
            yield f"{name} has shape {_shape(saved[name])} in the checkpoint and {_shape(value)} in the model"
    for name, value in saved.items():
        if name not in model:
            yield f"{name} {_shape(value)} is in the checkpoint, not in the model"


def _shape(value: object) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def finite_flags(tree: Any) -> list[Tensor]:  # noqa: ANN401  # a captured state is a tree of anything
    """Whether all floating-point numbers in a tree are finite: booleans of one element, one per device and type.

    One reduction for each, without a host read: the largest magnitude of a tensor is finite if all of it is. A tree
    without such numbers gives no flag.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for _, tensor in tensors(tree):
        if tensor.numel() and tensor.is_floating_point():
            groups.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
    return [torch.isfinite(_largest(group)).all() for group in groups.values()]


def _largest(group: list[Tensor]) -> Tensor:
    """Shape (tensors,): the largest magnitude of each; NaN where one is in it."""
    norms = torch._foreach_norm(group, ord=float("inf"))  # noqa: SLF001  # as clip_grad_norm_; no public name takes a list
    return torch.stack(list(norms))


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401  # a captured state is a tree of anything
    """All tensors of a tree of dicts and lists, with their places in it."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors(item, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from tensors(item, f"{name}/{index}")
