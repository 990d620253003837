"""The order of samples: a permutation per epoch, from seed and epoch alone; and the random numbers of each slice.

There is no state to save: step and seed say which rows a step sees, and what dropout and noise draw there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(kw_only=True, slots=True)
class Sampler:
    """Which rows each step sees; the rest of an epoch that fills no batch is left out (another rest every epoch)."""

    rows: int
    """Rows that one epoch visits, repeats of oversampling included."""
    batch_size: int
    seed: int
    visits: Callable[[int], Tensor] | None = None
    """Row numbers that an epoch visits, always `rows` of them; None: each row once."""
    _epoch: int = field(default=-1, init=False)
    _order: Tensor | None = field(default=None, init=False)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one epoch."""
        return self.rows // self.batch_size

    def batch(self, step: int) -> Tensor:
        """Row numbers of a step (0-based, over all epochs)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._order is None or epoch != self._epoch:
            order = permutation(self.rows, seed=self.seed, epoch=epoch)
            self._epoch, self._order = epoch, order if self.visits is None else self.visits(epoch)[order]
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]


def permutation(rows: int, *, seed: int, epoch: int) -> Tensor:
    """The order of `rows` rows in an epoch; does not touch the global generator."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    return torch.randperm(rows, generator=generator)


def derived_seed(*parts: int) -> int:
    """A seed of 56 bits that depends on all parts and their order."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
