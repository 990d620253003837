"""Bytes that a forward pass keeps for its backward pass, by autograd's own hooks: exact, and the same on any device."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCHES: Final = (4, 12)
"""Two batch sizes: their difference holds nothing that does not grow with the batch, such as copies of weights."""


def saved_bytes_per_sample(model: nn.Module, *, window: int, features: int, autocast: bool) -> float:
    """Bytes for each further window of a batch; `autocast` computes in bfloat16. The model is put into train mode."""
    small, large = (_saved(model, (batch, window, features), autocast=autocast) for batch in BATCHES)
    return (large - small) / (BATCHES[1] - BATCHES[0])


def _saved(model: nn.Module, shape: tuple[int, int, int], *, autocast: bool) -> int:
    """Bytes of all storages saved, each once; parameters are there anyway."""
    device = next(model.parameters()).device
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            kept[address] = tensor  # held, so that no address is used twice
        return tensor

    model.train()
    inputs = torch.randn(shape, device=device)
    targets = torch.zeros(shape[0], dtype=torch.long, device=device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            logits = model(inputs)
        functional.cross_entropy(logits.float(), targets)
    return sum(each.untyped_storage().nbytes() for each in kept.values())
