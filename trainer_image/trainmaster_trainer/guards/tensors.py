"""Saving and restoring state that lives in a few tensors on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor


class TensorState:
    """A guard whose whole state are the tensors named in `STATE`."""

    STATE: ClassVar[tuple[str, ...]] = ()

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the tensors: what is saved does not change while training goes on."""
        return {name: tensor.clone() for name, tensor in self._tensors().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state, on this guard's device.

        Raises KeyError for a missing tensor, ValueError for one of another shape; then nothing is changed.
        """
        mine = self._tensors()
        for name, tensor in mine.items():
            if state[name].shape != tensor.shape:
                message = (
                    f"{type(self).__name__}.{name} has shape {tuple(state[name].shape)} in the checkpoint and "
                    f"{tuple(tensor.shape)} here: it was written by another version or for other data"
                )
                raise ValueError(message)
        for name, tensor in mine.items():
            tensor.copy_(state[name])

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {name: getattr(self, name) for name in self.STATE}
        if not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
            message = f"{type(self).__name__}.STATE names what is no tensor: {sorted(tensors)}"
            raise TypeError(message)
        return tensors
