"""Confusion matrix, reliability diagram and learning curves as PNG; no display, no global state of matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from trainmaster_trainer.evaluation.calibration import ReliabilityBin
from trainmaster_trainer.evaluation.predictions import Ints

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES: Final = (6.0, 4.5)
DOTS_PER_INCH: Final = 100
MAX_NAMED_CLASSES: Final = 20
"""More classes than this get no numbers in the cells: nobody could read them."""
CURVE_GROUPS: Final = (
    ("loss", ("loss",)),
    ("accuracy and F1", ("accuracy", "f1")),
    ("learning rate", ("learning_rate",)),
)
"""Panels of the learning curves: title, and what a metric's name ends with to be in it."""


def confusion_matrix(counts: Ints, *, classes: Sequence[str]) -> bytes:
    """PNG of counts (classes that came, classes predicted), coloured by the share of each row.

    Raises ImportError if matplotlib is missing, as all of these.
    """
    figure = _figure()
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the class that came")
    axes.set(xlabel="predicted", ylabel="came", title=f"{int(counts.sum()):,} test rows")
    if len(classes) <= MAX_NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes)
        for (row, column), count in np.ndenumerate(counts):
            dark = shares[row, column] > 0.5
            axes.text(column, row, f"{count:,}", ha="center", va="center", color="white" if dark else "black")
    return _png(figure)


def reliability_diagram(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin]) -> bytes:
    """PNG of accuracy over confidence, before and after calibration; the diagonal is a model without error."""
    figure = _figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    for name, bins in (("as trained", before), ("calibrated", after)):
        filled = [each for each in bins if each.rows]
        axes.plot([b.confidence for b in filled], [b.accuracy for b in filled], marker="o", label=name)
    axes.set(xlabel="probability of the class predicted", ylabel="share of hits", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return _png(figure)


def learning_curves(history: Sequence[tuple[int, Mapping[str, float]]]) -> bytes:
    """PNG of the metrics (epoch, name -> value) of all validation points; values that are not finite leave a gap."""
    figure = _figure()
    panels = figure.subplots(len(CURVE_GROUPS), 1, sharex=True)
    names = sorted({name for _, metrics in history for name in metrics})
    for axes, (title, endings) in zip(panels, CURVE_GROUPS, strict=True):
        for name in names:
            if name.endswith(endings):
                points = [(epoch, metrics[name]) for epoch, metrics in history if name in metrics]
                values = np.array([value for _, value in points], dtype=np.float64)
                axes.plot([epoch for epoch, _ in points], np.where(np.isfinite(values), values, np.nan), label=name)
        axes.set_ylabel(title)
        if axes.lines:
            axes.legend(fontsize="small")
    panels[-1].set_xlabel("epoch")
    return _png(figure)


def _figure() -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415  # imported by those who draw

    return Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    # Without the version of matplotlib in it, equal pictures are equal bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
