"""Classes that are not equally frequent: rows of the rare ones repeated, or their losses weighed up.

Both look at the train rows and no others: a copy of a row that is in train and test is a leak. Nothing is stored: which
rows are repeated follows from seed and epoch. Either one shifts the prior that the model learns; `shares_after` says to
what, so that an evaluation can undo it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from trainmaster_trainer.sampler import derived_seed

SALT: Final = 1
"""Keeps the repeats of an epoch apart from its permutation, which is drawn from the same seed and epoch."""
ROUNDING: Final = 1e-6
"""What a product that should be a whole number may lie above it: 0.07 of 100 rows are 7, not 8."""


def class_counts(targets: Tensor, *, classes: int) -> Tensor:
    """(classes,): how many of the (rows,) targets have each class."""
    return torch.bincount(targets, minlength=classes)


def raised_counts(counts: Tensor, *, ratio: float) -> Tensor:
    """(classes,): rows of each class that an epoch visits.

    Each class that has any rows has at least `ratio` (0..1) of the most frequent one's, rounded up.
    """
    floor = torch.ceil(counts.max().double() * ratio - ROUNDING).to(counts.dtype)
    return torch.where(counts > 0, torch.maximum(counts, floor), counts)


def epoch_rows(targets: Tensor, *, classes: int, ratio: float, seed: int, epoch: int) -> Tensor:
    """Positions in `targets` that an epoch visits: each once, then the repeats of the rare classes.

    Equally many in every epoch. A rare class is repeated whole as often as it fits; the rest is drawn without
    replacement, another rest in each epoch.
    """
    counts = class_counts(targets, classes=classes)
    missing = (raised_counts(counts, ratio=ratio) - counts).tolist()
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch, SALT))
    visited = [torch.arange(len(targets))]
    for label, count in enumerate(missing):
        rows = torch.nonzero(targets == label).flatten()
        whole, rest = divmod(count, len(rows)) if count else (0, 0)
        drawn = rows[torch.randperm(len(rows), generator=generator)[:rest]]
        visited += [rows.repeat(whole), drawn]
    return torch.cat(visited)


def class_weights(counts: Tensor) -> Tensor:
    """(classes,): weights in inverse proportion to the counts, 1 on average over the rows.

    0 for a class without rows.
    """
    present = (counts > 0).sum()
    weights = counts.sum() / (present * counts.clamp(min=1).double())
    return torch.where(counts > 0, weights, 0.0).float()


def shares_after(counts: Tensor, *, ratio: float | None, weighted: bool) -> Tensor:
    """(classes,): the prior that a model learns when classes are repeated (`ratio`; None: not) or weighed."""
    visited = counts if ratio is None else raised_counts(counts, ratio=ratio)
    mass = visited.double()
    if weighted:
        mass = mass * class_weights(visited).double()
    return mass / mass.sum()
