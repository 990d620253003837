"""What is read, what is repaired aloud, and what is refused with place, value and a way out."""

import gzip
import re

import numpy as np
import pytest

from tests.support.bars import HEADER, bar_lines
from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.bars import Bars, read_bars
from trainmaster_trainer.sources import SourceFile

GOOD = [
    "2020-01-01 00:00,10,12,9,11,5",
    "2020-01-01 01:00,11,13,10,12,6",
    "2020-01-01 02:00,12,14,11,13,7",
    "2020-01-01 03:00,13,15,12,14,8",
]


def _read(lines: list[str], *, header: str = HEADER, name: str = "pvc://data/bars.csv") -> Bars:
    return read_bars(SourceFile(name=name, content="\n".join([header, *lines]).encode()))


def _with(line: int, text: str) -> list[str]:
    """The good bars with another line; line 2 of the file is the first bar."""
    return [*GOOD[: line - 2], text, *GOOD[line - 1 :]]


BAD = [
    pytest.param([], HEADER, "there is a header, but no row below it", id="header only"),
    pytest.param(["", "  ", ",,,,,"], HEADER, "there is a header, but no row below it", id="blank lines only"),
    pytest.param(
        ["2020-01-01,10,12,9,11"],
        "Time,Open,High,Low,Close",
        "column volume is missing (the file has: Time",
        id="no volume",
    ),
    pytest.param(
        GOOD,
        "Time,Open,High,Low,Close",
        "the bars have more cells than the header has columns (5)",
        id="a cell too many",
    ),
    pytest.param(
        [line + "," for line in GOOD], HEADER, "the bars have more cells than the header", id="comma at the end"
    ),
    pytest.param(
        ["2020-01-01,1,1"],
        "Time,Open,Close",
        "column high, low, volume is missing (the file has: Time, Open, Close)",
        id="several columns missing",
    ),
    pytest.param(GOOD, "When,Open,High,Low,Close,Volume", "column time is missing", id="no column of times"),
    pytest.param(
        ["2020-01-01,0:00,1,2,1,1,1"],
        "Date,Time,Open,High,Low,Close,Volume",
        "columns Date, Time all mean time; leave one",
        id="two columns of times",
    ),
    pytest.param(
        _with(4, "2020-01-01 02:00,12,14,11,,7"),
        HEADER,
        "line 4, column Close: the empty cell is no price above 0",
        id="empty price",
    ),
    pytest.param(
        _with(4, "2020-01-01 02:00,12,14,NaN,13,7"),
        HEADER,
        "line 4, column Low: 'NaN' is no price above 0",
        id="NaN price",
    ),
    pytest.param(
        _with(3, "2020-01-01 01:00,0,13,10,12,6"), HEADER, "line 3, column Open: '0' is no price above 0", id="price 0"
    ),
    pytest.param(
        _with(3, "2020-01-01 01:00,11,13,-10,12,6"),
        HEADER,
        "line 3, column Low: '-10' is no price above 0",
        id="negative price",
    ),
    pytest.param(
        _with(3, "2020-01-01 01:00,11,inf,10,12,6"),
        HEADER,
        "line 3, column High: 'inf' is no price above 0",
        id="infinite price",
    ),
    pytest.param(
        _with(5, "2020-01-01 03:00,13,15,n/a,14,8"),
        HEADER,
        "line 5, column Low: 'n/a' is no number",
        id="text for a price",
    ),
    pytest.param(
        _with(5, "2020-01-01 03:00,13,11,12,14,8"), HEADER, "line 5: high 11 is below low 12", id="high below low"
    ),
    pytest.param(
        _with(5, "2020-01-01 03:00,13,15,12,14,-8"),
        HEADER,
        "line 5, column Volume: '-8' is no volume",
        id="negative volume",
    ),
    pytest.param(
        _with(5, "2020-01-01 03:00,13,15,12,14,many"),
        HEADER,
        "line 5, column Volume: 'many' is no number",
        id="text for a volume",
    ),
    pytest.param(
        _with(4, "2020-01-01 01:00,12,14,11,13,7"),
        HEADER,
        "line 4, column Time: '2020-01-01 01:00:00' is the time of line 3 again",
        id="a time twice",
    ),
    pytest.param(
        _with(4, "2020-01-01 09:00,12,14,11,13,7"),
        HEADER,
        "line 5, column Time: '2020-01-01 03:00:00' comes after '2020-01-01 09:00:00' (line 4)",
        id="a time out of order",
    ),
    pytest.param(
        _with(4, "yesterday,12,14,11,13,7"), HEADER, "line 4, column Time: 'yesterday' is no time", id="text for a time"
    ),
    pytest.param(_with(4, ",12,14,11,13,7"), HEADER, "line 4, column Time: the empty cell is no time", id="empty time"),
    pytest.param(
        ["03/04/2020,1,2,1,1,1", "03/05/2020,1,2,1,1,1"],
        HEADER,
        "'03/04/2020' could be %m/%d/%Y or %d/%m/%Y",
        id="day or month",
    ),
    pytest.param(
        [*GOOD, "2020-01-01 04:00,1,2,1,1,1,9,9,9"], HEADER, "this is no CSV file with a header", id="too many cells"
    ),
    pytest.param(
        ["2020-01-01,1,2,1,1,1,-3"],
        HEADER + ",Adj Close",
        "line 2, column Adj Close: '-3' is no price above 0",
        id="negative adjusted close",
    ),
]


@pytest.mark.parametrize(("lines", "header", "message"), BAD)
def test_a_bad_file_is_refused_with_its_name_and_the_place(lines: list[str], header: str, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        _read(lines, header=header)

    text = str(refusal.value)
    assert text.startswith("pvc://data/bars.csv: ")
    assert message in text or re.search(message, text)
    assert "; " in text, "a way out follows the problem"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01,,\n1,2", b"\x1f\x8b broken"])
def test_a_file_that_is_no_text_is_refused(content: bytes) -> None:
    name = "pvc://data/bars.csv.gz" if content.startswith(b"\x1f") else "pvc://data/bars.csv"

    with pytest.raises(DataError, match="this is no CSV file"):
        read_bars(SourceFile(name=name, content=content))


def test_names_of_columns_are_found_in_any_case_and_order() -> None:
    bars = _read(["5,11,9,12,10,2020-01-01", "6,12,10,13,11,2020-01-02"], header="VOLUME,close,Low,HIGH, open ,Date")

    assert bars.close.tolist() == [11, 12]
    assert bars.open.tolist() == [10, 11]
    assert bars.volume.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("cells", "second"),
    [
        (["01.02.2017 22:00:00.000", "01.02.2017 23:00:00.000"], "2017-02-01T23:00"),
        (["2017-02-01T22:00:00Z", "2017-02-01T23:00:00Z"], "2017-02-01T23:00"),
        (["2017-02-01T22:00:00+01:00", "2017-02-01T23:30:00+01:00"], "2017-02-01T22:30"),
        (["2019-10-17 08-AM", "2019-10-17 01-PM"], "2019-10-17T13:00"),
        (["1/30/1999", "2/1/1999"], "1999-02-01"),
        (["30/1/1999", "1/2/1999"], "1999-02-01"),
        (["1577836800", "1577840400"], "2020-01-01T01:00"),
        (["1577836800000", "1577840400000"], "2020-01-01T01:00"),
    ],
)
def test_times_are_read_in_one_format_for_the_whole_file(cells: list[str], second: str) -> None:
    bars = _read([f"{cell},10,12,9,11,5" for cell in cells])

    assert bars.time[1] == np.datetime64(second)


def test_a_newest_first_file_is_turned_round_aloud() -> None:
    bars = _read(GOOD[::-1])

    assert bars.close.tolist() == [11, 12, 13, 14]
    assert bars.volume.tolist() == [5, 6, 7, 8]
    assert (np.diff(bars.time) > np.timedelta64(0)).all()
    assert "the newest row comes first" in "; ".join(bars.notes)


def test_one_bar_out_of_order_in_a_newest_first_file_is_named() -> None:
    lines = [GOOD[3], GOOD[2], GOOD[0], GOOD[1]]

    with pytest.raises(
        DataError, match=r"line 5, column Time: '2020-01-01 01:00:00' comes after '2020-01-01 00:00:00'"
    ):
        _read(lines)


def test_an_adjusted_close_scales_all_prices() -> None:
    bars = _read(["2020-01-01,20,24,18,22,5,11", "2020-01-02,10,12,9,11,6,11"], header=HEADER + ",Adj Close")

    assert bars.notes == ("open, high, low and close are scaled by Adj Close / close",)
    assert bars.open.tolist() == [10, 10]
    assert bars.high.tolist() == [12, 12]
    assert bars.low.tolist() == [9, 9]
    assert bars.close.tolist() == [11, 11]


def test_volume_0_is_missing_and_said_when_frequent() -> None:
    bars = _read(_with(3, "2020-01-01 01:00,11,13,10,12,0"))

    assert np.isnan(bars.volume).tolist() == [False, True, False, False]
    assert "1 of 4 bars have no volume" in "; ".join(bars.notes)


def test_rare_zero_volume_is_not_worth_a_warning() -> None:
    lines = bar_lines(100)
    lines[50] = lines[50].rpartition(",")[0] + ",0"

    bars = _read(lines)

    assert np.isnan(bars.volume[50])
    assert bars.notes == ()


def test_a_close_outside_the_range_is_told_but_kept() -> None:
    bars = _read(_with(3, "2020-01-01 01:00,11,13,10,13.5,6"))

    assert bars.close[1] == 13.5
    assert "1 bars open or close outside their range, the first on line 3" in "; ".join(bars.notes)


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_do_no_harm() -> None:
    content = "\ufeff" + "\r\n".join([HEADER, GOOD[0], "", *GOOD[1:], "", ""])

    bars = read_bars(SourceFile(name="bars.csv", content=content.encode()))

    assert len(bars) == 4


def test_line_numbers_count_blank_lines() -> None:
    with pytest.raises(DataError, match="line 5, column Close: '0'"):
        _read([GOOD[0], "", GOOD[1], "2020-01-01 02:00,12,14,11,0,7"])


def test_a_compressed_file_is_read() -> None:
    content = gzip.compress("\n".join([HEADER, *GOOD]).encode())

    assert len(read_bars(SourceFile(name="package://x/bars.csv.gz", content=content))) == 4
