"""The twin: everything of the bars but their direction."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.bars import HEADER, bar_lines
from trainmaster_trainer.market.bars import Bars, read_bars
from trainmaster_trainer.sources import SourceFile
from trainmaster_trainer.synthetic.coinflip import CoinTruth, coin_flip


def _bars(rows: int = 2000) -> Bars:
    return read_bars(SourceFile(name="bars.csv", content="\n".join([HEADER, *bar_lines(rows)]).encode()))


def _moves(bars: Bars) -> np.ndarray:
    return np.diff(np.log(bars.close))


def test_moves_keep_their_size_and_volumes_and_times_stay() -> None:
    bars = _bars()

    twin = coin_flip(bars, seed=1)

    np.testing.assert_allclose(np.abs(_moves(twin)), np.abs(_moves(bars)), atol=1e-12)
    np.testing.assert_allclose(np.log(twin.high / twin.low), np.log(bars.high / bars.low), atol=1e-12)
    np.testing.assert_array_equal(twin.time, bars.time)
    np.testing.assert_array_equal(twin.volume, bars.volume)


def test_a_bar_stays_a_bar() -> None:
    twin = coin_flip(_bars(), seed=1)

    slack = 1 + 1e-12
    assert (twin.high * slack >= np.maximum(twin.open, twin.close)).all()
    assert (twin.low <= np.minimum(twin.open, twin.close) * slack).all()


def test_about_half_of_the_moves_are_turned_round_and_memory_is_gone() -> None:
    bars = _bars(20_000)

    moves, twins = _moves(bars), _moves(coin_flip(bars, seed=1))

    assert np.corrcoef(moves[:-1], moves[1:])[0, 1] < -0.2, "the bars take moves back"
    assert abs(np.corrcoef(twins[:-1], twins[1:])[0, 1]) < 0.03
    assert (np.sign(moves) == np.sign(twins)).mean() == pytest.approx(0.5, abs=0.02)


def test_each_seed_is_another_twin_and_the_same_one_each_time() -> None:
    bars = _bars(200)

    np.testing.assert_array_equal(coin_flip(bars, seed=1).close, coin_flip(bars, seed=1).close)
    assert not np.array_equal(coin_flip(bars, seed=1).close, coin_flip(bars, seed=2).close)


def test_instruments_are_flipped_each_from_its_own_first_close() -> None:
    bars = _bars(200)
    pair = replace(bars, instruments=("A", "B"), starts=(0, 120))

    twin = coin_flip(pair, seed=1)

    assert twin.starts == (0, 120)
    assert twin.close[[0, 120]] == pytest.approx(bars.close[[0, 120]])


def test_the_ceiling_is_one_half_and_wider_for_labels_that_overlap() -> None:
    rows = np.arange(2500)

    ceiling, overlapping = (CoinTruth(horizon=h).ceiling(rows, window=24) for h in (1, 4))

    assert ceiling.bayes_accuracy == 0.5
    assert ceiling.standard_error == pytest.approx(0.01)  # 0.5 / 50
    assert overlapping.standard_error == pytest.approx(0.02)
    assert ceiling.log_loss == pytest.approx(np.log(2))
