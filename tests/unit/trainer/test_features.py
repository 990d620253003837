import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bars import HEADER, bar_lines
from trainmaster_trainer.market.bars import Bars, read_bars
from trainmaster_trainer.market.features import WARM_UP, compute_features, volatility
from trainmaster_trainer.sources import SourceFile

ROWS = 200


def _bars(rows: int = ROWS, *, seed: int = 0) -> Bars:
    return read_bars(SourceFile(name="test.csv", content="\n".join([HEADER, *bar_lines(rows, seed=seed)]).encode()))


def _with_other_future(bars: Bars, *, after: int, factor: float) -> Bars:
    """The same bars up to `after`; later ones have other prices and volumes."""
    scale = np.where(np.arange(len(bars)) > after, factor, 1.0)
    return Bars(
        name=bars.name,
        time=bars.time,
        open=bars.open * scale,
        high=bars.high * scale,
        low=bars.low * scale,
        close=bars.close * scale,
        volume=bars.volume * scale,
    )


@settings(max_examples=25, deadline=None)
@given(after=st.integers(0, ROWS - 2), factor=st.sampled_from([0.2, 0.99, 3.0, 1e6]))
def test_no_feature_looks_ahead(after: int, factor: float) -> None:
    bars = _bars()

    before = compute_features(bars).values
    changed = compute_features(_with_other_future(bars, after=after, factor=factor)).values

    np.testing.assert_array_equal(changed[: after + 1], before[: after + 1])
    assert not np.array_equal(changed[after + 1], before[after + 1], equal_nan=True)


def test_a_file_that_ends_earlier_gives_the_same_features() -> None:
    content = [HEADER, *bar_lines(ROWS)]
    shorter = read_bars(SourceFile(name="test.csv", content="\n".join(content[:151]).encode()))

    np.testing.assert_array_equal(compute_features(_bars()).values[:150], compute_features(shorter).values)


def test_about_thirty_features_are_complete_after_the_warm_up() -> None:
    features = compute_features(_bars())

    assert len(features.names) == len(set(features.names)) == 31
    assert np.isfinite(features.values[WARM_UP:]).all()
    assert not np.isfinite(features.values[WARM_UP - 1]).all()


def test_features_do_not_know_the_level_of_the_price() -> None:
    bars = _bars()

    scaled = _with_other_future(bars, after=-1, factor=8.0)

    np.testing.assert_allclose(compute_features(scaled).values, compute_features(bars).values, atol=1e-6)


def test_bars_that_do_not_move_and_have_no_volume_give_finite_features() -> None:
    flat = np.full(ROWS, 5.0)
    time = np.arange(ROWS).astype("datetime64[h]").astype("datetime64[ns]")
    bars = Bars(name="flat", time=time, open=flat, high=flat, low=flat, close=flat, volume=np.full(ROWS, np.nan))

    assert np.isfinite(compute_features(bars).values[WARM_UP:]).all()


def test_a_missing_volume_is_neutral_and_spoils_no_other_bar() -> None:
    bars = _bars()
    volume = bars.volume.copy()
    volume[120] = np.nan
    gap = Bars(
        name="gap", time=bars.time, open=bars.open, high=bars.high, low=bars.low, close=bars.close, volume=volume
    )

    features = compute_features(gap)

    column = features.values[:, features.names.index("volume_z")]
    assert column[120] == 0.0
    assert np.isfinite(column).all()
    assert column[121] != 0.0


@pytest.mark.parametrize(("name", "value"), [("return_1", np.log(1.1)), ("body", np.log(1.1)), ("gap", 0.0)])
def test_features_of_a_bar_by_hand(name: str, value: float) -> None:
    close = np.r_[np.full(ROWS - 1, 100.0), 110.0]
    opened = np.full(ROWS, 100.0)
    time = np.arange(ROWS).astype("datetime64[h]").astype("datetime64[ns]")
    bars = Bars(name="hand", time=time, open=opened, high=close, low=opened, close=close, volume=close)

    features = compute_features(bars)

    assert features.values[-1, features.names.index(name)] == pytest.approx(value)


def test_the_hour_and_the_weekday_come_round() -> None:
    features = compute_features(_bars(24 * 7 * 2))
    calendar = features.values[:, [features.names.index(n) for n in ("hour_sine", "hour_cosine", "weekday_sine")]]

    np.testing.assert_allclose(calendar[:168], calendar[168:], atol=1e-9)
    assert len({tuple(row) for row in calendar[:24, :2].round(9).tolist()}) == 24


def test_volatility_weighs_later_returns_more() -> None:
    calm, wild = np.full(50, 0.001), np.full(50, 0.02)
    signs = np.where(np.arange(100) % 2, 1, -1)

    rising = volatility(np.exp(np.cumsum(np.r_[calm, wild] * signs)))[-1]
    falling = volatility(np.exp(np.cumsum(np.r_[wild, calm] * signs)))[-1]

    assert rising > falling
