import math

import numpy as np
import pytest

from trainmaster_trainer.market.dataset import UNKNOWN
from trainmaster_trainer.market.features import volatility
from trainmaster_trainer.market.labels import compute_labels

ZIGZAG = np.array([100.0, 101.0, 100.0, 101.0, 100.0, 104.0, 104.001, 90.0])


def test_three_classes_by_hand() -> None:
    labels = compute_labels(ZIGZAG, horizon=1, dead_zone=0.43)

    assert labels.classes == ("down", "flat", "up")
    # Bars 0 and 1 have no volatility yet, bar 7 no future; 104 -> 104.001 is nothing in a market that moves by 1 %.
    assert labels.values.tolist() == [UNKNOWN, UNKNOWN, 2, 0, 2, 1, 0, UNKNOWN]


def test_two_classes_without_a_dead_zone() -> None:
    close = np.array([100.0, 101.0, 100.0, 100.0, 101.0, 100.0])

    labels = compute_labels(close, horizon=1, dead_zone=0)

    assert labels.classes == ("down", "up")
    # A price that does not move did not go up.
    assert labels.values.tolist() == [UNKNOWN, UNKNOWN, 0, 1, 0, UNKNOWN]


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_the_last_bars_have_no_label_for_want_of_a_future(horizon: int) -> None:
    labels = compute_labels(ZIGZAG, horizon=horizon, dead_zone=0)

    assert (labels.values[len(ZIGZAG) - horizon :] == UNKNOWN).all()
    assert (labels.values[2 : len(ZIGZAG) - horizon] != UNKNOWN).all()


@pytest.mark.parametrize(("share", "label"), [(0.99, 1), (1.01, 2)])
@pytest.mark.parametrize("horizon", [1, 4])
def test_the_edge_of_the_dead_zone_grows_with_the_root_of_the_horizon(share: float, label: int, horizon: int) -> None:
    past = 100 + np.tile([0.0, 1.0], 20)
    sigma = volatility(past)[-1]
    future = past[-1] * math.exp(share * 0.5 * sigma * math.sqrt(horizon))
    close = np.r_[past, np.full(horizon - 1, past[-1]), future]

    labels = compute_labels(close, horizon=horizon, dead_zone=0.5)

    assert labels.values[len(past) - 1] == label


def test_volatility_of_a_label_does_not_see_the_bar_that_it_judges() -> None:
    calm = compute_labels(np.r_[ZIGZAG[:5], 101.0], horizon=1, dead_zone=0.43)
    crash = compute_labels(np.r_[ZIGZAG[:5], 101.0, 1.0], horizon=1, dead_zone=0.43)

    assert calm.values[:5].tolist() == crash.values[:5].tolist()
