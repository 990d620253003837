"""Bars from Parquet, from long files and from files with several instruments."""

import io
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.bars import HEADER, bar_lines
from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market import cells
from trainmaster_trainer.market.bars import Bars, read_bars
from trainmaster_trainer.market.features import compute_features
from trainmaster_trainer.market.labels import compute_all_labels, compute_labels
from trainmaster_trainer.sources import SourceFile


def _csv(lines: list[str], *, header: str = HEADER) -> Bars:
    return read_bars(SourceFile(name="bars.csv", content="\n".join([header, *lines]).encode()))


def _frame(rows: int = 100) -> pd.DataFrame:
    frame = pd.read_csv(io.StringIO("\n".join([HEADER, *bar_lines(rows)])))
    frame["Time"] = pd.to_datetime(frame["Time"])
    return frame


def _parquet(frame: pd.DataFrame, *, name: str = "bars.parquet") -> Bars:
    content = io.BytesIO()
    frame.to_parquet(content, index=False)
    return read_bars(SourceFile(name=name, content=content.getvalue()))


def _assert_same(ours: Bars, theirs: Bars) -> None:
    for column in ("time", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))
    assert (ours.instruments, ours.starts) == (theirs.instruments, theirs.starts)


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(lambda t: t, id="timestamps"),
        pytest.param(lambda t: t.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"), id="timestamps with a zone"),
        pytest.param(lambda t: t.astype("datetime64[ms]"), id="timestamps in milliseconds"),
        pytest.param(lambda t: t.astype(str), id="text"),
        pytest.param(lambda t: t.astype("datetime64[s]").astype("int64"), id="seconds since 1970"),
        pytest.param(lambda t: t.astype("datetime64[ms]").astype("int64"), id="milliseconds since 1970"),
        pytest.param(lambda t: t.astype("datetime64[s]").astype("int64").astype(float), id="floats"),
    ],
)
def test_parquet_is_read_like_csv(times: Any) -> None:  # noqa: ANN401  # a function of a column
    frame = _frame()
    frame["Time"] = times(frame["Time"])

    _assert_same(_parquet(frame), _csv(bar_lines(100)))


def test_days_of_parquet_are_times() -> None:
    frame = _frame(3)
    frame["Time"] = [date(2020, 1, day) for day in (1, 2, 3)]

    assert _parquet(frame).time[2] == np.datetime64("2020-01-03")


def test_parquet_is_known_by_its_first_bytes() -> None:
    _assert_same(_parquet(_frame(), name="bars.bin"), _csv(bar_lines(100)))


def test_a_bad_cell_of_parquet_is_named_by_its_row() -> None:
    frame = _frame()
    frame.loc[41, "Low"] = -3.0

    with pytest.raises(DataError, match=r"bars.parquet: row 42, column Low: '-3.0' is no price above 0; correct"):
        _parquet(frame)


def test_a_missing_price_of_parquet_is_an_empty_cell() -> None:
    frame = _frame()
    frame.loc[41, "Close"] = np.nan

    with pytest.raises(DataError, match="row 42, column Close: the empty cell is no price above 0"):
        _parquet(frame)


def test_a_file_that_is_no_parquet_is_refused() -> None:
    with pytest.raises(DataError, match=r"bars\.parquet: this is no Parquet file: .*; write it again"):
        read_bars(SourceFile(name="bars.parquet", content=b"PAR1 and nothing more"))


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "CHUNK_ROWS", 7)


@pytest.mark.usefixtures("short_chunks")
def test_a_long_file_is_read_in_chunks_like_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = bar_lines(100)
    in_chunks = (_csv(lines), _csv(lines[::-1]), _parquet(_frame()))

    monkeypatch.setattr(cells, "CHUNK_ROWS", 1000)

    for bars in in_chunks:
        _assert_same(bars, _csv(lines))


@pytest.mark.usefixtures("short_chunks")
def test_a_bad_cell_far_down_is_named_by_its_line() -> None:
    lines = bar_lines(100)
    lines[50] = lines[50].replace(",", ",x", 1)

    with pytest.raises(DataError, match=r"line 52, column Open: 'x.*' is no number; correct the cell"):
        _csv(["", *lines[1:]])


@pytest.mark.usefixtures("short_chunks")
def test_the_format_of_times_is_one_for_all_chunks() -> None:
    days = [f"{n:02d}/03/2020,1,2,1,1,1" for n in range(1, 13)]

    with pytest.raises(DataError, match=r"'01/03/2020' could be %m/%d/%Y or %d/%m/%Y"):
        _csv(days)
    # The thirteenth of March, in the second chunk, tells day and month apart.
    assert _csv([*days, "13/03/2020,1,2,1,1,1"]).time[1] == np.datetime64("2020-03-02")


@pytest.mark.usefixtures("short_chunks")
def test_a_time_that_does_not_fit_the_chunks_before_is_named() -> None:
    lines = [*bar_lines(10), "17.03.2021 10:00,1,2,1,1,1"]

    with pytest.raises(DataError, match=r"line 12, column Time: '17.03.2021 10:00' is no time; write times as"):
        _csv(lines)


WITH_SYMBOL = HEADER + ",Symbol"


def _pair() -> list[str]:
    """Two instruments, by turns; B begins later and comes first in the file."""
    a, b = bar_lines(100, seed=1), bar_lines(100, seed=2)[40:]
    mixed = [f"{line},B" for line in b] + [f"{line},A" for line in a]
    return sorted(mixed, key=lambda line: (line.split(",")[0], line[-1] == "A"))


def test_instruments_are_put_together_each_in_the_order_of_time() -> None:
    bars = _csv(_pair(), header=WITH_SYMBOL)

    assert bars.instruments == ("A", "B")
    assert bars.starts == (0, 100)
    first, second = bars.parts()
    np.testing.assert_array_equal(first.close, _csv(bar_lines(100, seed=1)).close)
    np.testing.assert_array_equal(second.close, _csv(bar_lines(100, seed=2)).close[40:])
    assert (np.diff(second.time) > np.timedelta64(0)).all()


def test_an_instrument_whose_newest_bar_comes_first_is_turned_round() -> None:
    lines = [*(f"{line},A" for line in bar_lines(50)), *(f"{line},B" for line in bar_lines(50)[::-1])]

    bars = _csv(lines, header=WITH_SYMBOL)

    assert bars.notes == ("the newest row comes first for B; the rows are put in the order of time",)
    first, second = bars.parts()
    np.testing.assert_array_equal(first.close, second.close)


def test_one_instrument_in_every_row_is_one_instrument() -> None:
    bars = _csv([f"{line},BTCUSD" for line in bar_lines(50)], header=WITH_SYMBOL)

    assert (bars.instruments, bars.starts) == (("BTCUSD",), (0,))


def test_features_and_labels_of_an_instrument_are_those_of_its_bars_alone() -> None:
    pair = _csv(_pair(), header=WITH_SYMBOL)

    values = compute_features(pair).values
    labels = compute_all_labels(pair.close, starts=pair.starts, horizon=3, dead_zone=0.4).values

    for part, start in zip(pair.parts(), pair.starts, strict=True):
        rows = slice(start, start + len(part))
        np.testing.assert_array_equal(values[rows], compute_features(part).values)
        np.testing.assert_array_equal(labels[rows], compute_labels(part.close, horizon=3, dead_zone=0.4).values)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["2020-01-01,1,2,1,1,1,A", "2020-01-02,1,2,1,1,1,"], "line 3, column Symbol: the empty cell names no instrum"),
        (
            ["2020-01-01,1,2,1,1,1,B", "2020-01-01,1,2,1,1,1,A", "2020-01-01,1,2,1,1,1,A"],
            "line 4, column Time: '2020-01-01 00:00:00' is the time of line 3 again for A",
        ),
        (
            [f"2020-01-0{day},1,2,1,1,1,{name}" for day, name in ((1, "B"), (1, "A"), (4, "A"), (3, "A"), (5, "A"))],
            r"line 5, column Time: '2020-01-03 00:00:00' comes after '2020-01-04 00:00:00' \(line 4\) for A",
        ),
    ],
)
def test_bad_rows_of_an_instrument_are_named(lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _csv(lines, header=WITH_SYMBOL)


def test_times_twice_without_a_column_of_instruments_say_how_to_name_them() -> None:
    with pytest.raises(DataError, match="or name the instruments in a column `symbol`"):
        _csv(["2020-01-01,1,2,1,1,1", "2020-01-01,1,2,1,1,1"])


def test_columns_that_are_not_used_are_told() -> None:
    bars = _csv([f"{line},7,x" for line in bar_lines(5)], header=HEADER + ",Trades,Exchange")

    assert bars.notes == ("nothing is made of column Trades, Exchange; bars are time, prices and volume",)


def test_a_moment_in_a_parquet_file_may_be_an_object() -> None:
    frame = _frame(2)
    frame["Time"] = pd.Series([datetime(2020, 1, 1, 5), datetime(2020, 1, 1, 6)], dtype=object)  # noqa: DTZ001  # without a zone, as files are

    assert _parquet(frame).time[0] == np.datetime64("2020-01-01T05:00")


def test_a_time_that_is_missing_in_a_parquet_file_is_named() -> None:
    frame = _frame()
    frame.loc[7, "Time"] = pd.NaT

    with pytest.raises(DataError, match="row 8, column Time: the empty cell is no time; write times as"):
        _parquet(frame)


def test_blank_lines_above_the_first_row_do_no_harm() -> None:
    _assert_same(_csv(["", " ", ",,,,,", *bar_lines(20)]), _csv(bar_lines(20)))
