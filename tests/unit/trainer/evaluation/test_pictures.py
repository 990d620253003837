import math
import struct
import sys

import numpy as np
import pytest

from trainmaster_trainer.evaluation.calibration import ReliabilityBin
from trainmaster_trainer.evaluation.pictures import confusion_matrix, learning_curves, reliability_diagram

PNG = b"\x89PNG\r\n\x1a\n"
BINS = (
    ReliabilityBin(low=0.0, high=0.5, rows=0, confidence=0.0, accuracy=0.0),
    ReliabilityBin(low=0.5, high=1.0, rows=7, confidence=0.7, accuracy=0.6),
)


def _size(png: bytes) -> tuple[int, int]:
    """Width and height in a PNG's header."""
    assert png.startswith(PNG)
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize("classes", [2, 3, 30])
def test_a_confusion_matrix_is_a_picture_of_any_number_of_classes(classes: int) -> None:
    counts = np.arange(classes * classes).reshape(classes, classes)

    assert _size(confusion_matrix(counts, classes=[f"class {c}" for c in range(classes)])) == (600, 450)


def test_other_counts_are_another_picture_and_equal_ones_equal_bytes() -> None:
    first, again, other = (confusion_matrix(np.diag([4, n]), classes=["down", "up"]) for n in (5, 5, 6))

    assert first == again
    assert first != other


def test_reliability_and_curves_are_pictures_with_gaps_where_values_are_not_finite() -> None:
    history = [(1, {"val_loss": 0.7, "learning_rate": 1e-3}), (2, {"val_loss": math.nan}), (3, {"val_loss": math.inf})]

    assert _size(reliability_diagram(BINS, BINS)) == (600, 450)
    assert _size(learning_curves(history)) == (600, 450)


def test_drawing_leaves_no_figure_behind() -> None:
    learning_curves([(1, {"val_loss": 0.7})])

    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
