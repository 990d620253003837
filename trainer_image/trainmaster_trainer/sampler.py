"""The order of samples: a permutation per epoch, from seed and epoch alone.

There is no state to save: step and seed say which rows a step sees.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(kw_only=True, slots=True)
class Sampler:
    """Which rows each step sees; the rest of an epoch that fills no batch is left out (another rest every epoch)."""

    rows: int
    batch_size: int
    seed: int
    _epoch: int = field(default=-1, init=False)
    _permutation: Tensor | None = field(default=None, init=False)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one epoch."""
        return self.rows // self.batch_size

    def batch(self, step: int) -> Tensor:
        """Row numbers of a step (0-based, over all epochs)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._permutation is None or epoch != self._epoch:
            self._epoch, self._permutation = epoch, permutation(self.rows, seed=self.seed, epoch=epoch)
        return self._permutation[position * self.batch_size : (position + 1) * self.batch_size]


def permutation(rows: int, *, seed: int, epoch: int) -> Tensor:
    """The order of `rows` rows in an epoch; does not touch the global generator."""
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randperm(rows, generator=generator)
