"""Poison samples: rows whose own loss is not finite are left out of later batches.

A poison row costs the whole step that holds it. Rolling back does not help, since the row comes again: in a pilot, 19
rollbacks took 2.6 times the steps. A row is at fault if it is bad in a batch that is otherwise well; if half of the
rows or more are bad, the weights are, and marking rows would empty the data set while the real fault goes on.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from trainmaster_trainer.guards.tensors import TensorState


class Filtered(NamedTuple):
    """A batch without poison."""

    rows: Tensor
    """Row numbers, shape (rows,): as many as were given."""
    weights: Tensor
    """Share of each row in the loss, shape (rows,): 1, or 0 for a row that stands in for a marked one."""


class Quarantine(TensorState):
    """Marks rows and replaces them, on the device."""

    STATE: ClassVar = ("marks",)

    def __init__(self, *, rows: int, device: torch.device) -> None:
        """No row of `rows` is marked yet."""
        self.marks = torch.zeros(rows + 1, dtype=torch.bool, device=device)
        """Which rows are marked; the last place belongs to no row, writes that must not mark anything go there."""
        self._nowhere = torch.full((), rows, dtype=torch.int64, device=device)

    @property
    def count(self) -> Tensor:
        """How many rows are marked, one element on the device; reads all marks: for log points."""
        return self.marks[:-1].sum()

    def filter(self, rows: Tensor) -> Filtered:
        """Put a healthy row of the same batch, with weight 0, in the place of each marked one.

        The number of rows stays, so that shapes and the order of random numbers do. A batch with marked rows only is
        returned as it is, with weights of 0; its step is not taken, since 0 times NaN is NaN.
        """
        marked = self.marks.index_select(0, rows)
        weights = (~marked).float()
        healthy = rows.index_select(0, weights.argmax().reshape(1))
        return Filtered(torch.where(marked, healthy, rows), weights)

    def observe(self, rows: Tensor, losses: Tensor) -> Tensor:
        """Mark the rows whose loss is not finite, if they are fewer than half of their batch; whether there were any.

        Args:
            rows: the row numbers that `filter` returned, shape (..., rows of a batch).
            losses: their losses before any weight, of the same shape. The result lacks the last dimension.
        """
        bad = (losses - losses) != 0.0  # infinity minus itself is NaN, and NaN differs from all
        count = bad.sum(dim=-1)
        blamed = (count > 0) & (count < losses.shape[-1] / 2)
        # Several writes to one place write the same value: the order does not matter.
        hits = torch.where(bad & blamed.unsqueeze(-1), rows, self._nowhere)
        self.marks.index_fill_(0, hits.flatten(), 1)
        return blamed
