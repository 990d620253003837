"""What a workload shows to the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.evaluation.predictions import Floats, Ints, Times

UNKNOWN: Final = -1
"""Label of a row whose class is not known; it keeps its place whatever is done to the labels."""
AUDIT_ROWS: Final = 6_000
"""Newest rows per run of the steps that the audit asks for: a memorising model sees a leak of a few points in them,
and takes about a second."""

Relabel = Callable[[Ints], Ints]
"""Other labels for all rows, UNKNOWN where they were; applied before any other step sees the labels."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScalerFacts:
    """What a scaler was given and what it made of it."""

    unscaled: NDArray[Any]
    """(rows, features)."""
    mean: Floats
    deviation: Floats
    """As the scaler uses it; infinite where it drops the column, anything where the column does not vary."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """What the workload's own steps made of a source, from features to the rows of an epoch. All arrays are of rows."""

    features: NDArray[np.float32]
    """(rows, features): the newest features of each row's window, as the model gets them."""
    labels: Ints
    times: Times
    """When each row's prediction is made."""
    label_ends: Times
    """When each row's label is known; the row's own time where the label belongs to it."""
    classes: int
    horizon: int
    """Stamps that a label reaches ahead."""
    embargo: int
    """Stamps that the split promises to leave out between blocks, besides the labels' own reach."""
    train: Ints
    validation: Ints
    test: Ints
    visited: Ints
    """Rows that an epoch visits, with the repeats of oversampling."""
    fitted: Mapping[str, Ints] = field(default_factory=dict)
    """Name of each fitted step (scaler, feature selection, ...) -> the rows that it saw."""
    scaler: ScalerFacts | None = None

    @property
    def blocks(self) -> dict[str, Ints]:
        """The three blocks, in the order of time."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class Pipeline(Protocol):
    """A workload's steps, run again on the newest AUDIT_ROWS rows of its source: the same code as for training."""

    @property
    def horizon(self) -> int:
        """Stamps that a label reaches ahead."""

    def prepare(self, *, relabel: Relabel) -> Prepared:
        """All steps, with other labels."""

    def coin_flip(self, *, seed: int) -> Prepared | None:
        """All steps, on bars whose directions were drawn by a coin; None where the source has no bars.

        The first class is then the mirror of the last, and rows of other classes are left out of the judgement.
        """

    def computed(self, *, until: Any) -> tuple[Times, Floats] | None:  # noqa: ANN401  # a time, of whatever kind
        """Times and unscaled features of all rows up to a time, from nothing that came later; None: up to the end.

        None as the answer where features come ready-made.
        """
