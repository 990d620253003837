"""Feature tables: what is a feature, what is a label, and what is refused."""

import io

import numpy as np
import pandas as pd
import pytest

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market import cells
from trainmaster_trainer.market.dataset import UNKNOWN, Dataset, usable_rows
from trainmaster_trainer.market.inputs import dataset_of
from trainmaster_trainer.market.tables import is_table, read_table
from trainmaster_trainer.sources import SourceFile

GOOD = ["2020-01-01 00:00,0.5,10,-1", "2020-01-01 01:00,1.5,20,0", "2020-01-01 02:00,2.5,30,1"]
HEADER = "Time,a,b,Label"


def _file(lines: list[str], *, header: str = HEADER) -> SourceFile:
    return SourceFile(name="table.csv", content="\n".join([header, *lines]).encode())


def _read(lines: list[str], *, header: str = HEADER, horizon: int = 1) -> Dataset:
    stored = read_table(_file(lines, header=header))
    return dataset_of(stored, name="table.csv", fingerprint="", horizon=horizon, dead_zone=0)


def _many(rows: int) -> list[str]:
    return [f"{n},{n % 7},{n % 3}" for n in range(rows)]


def test_columns_that_are_neither_label_nor_time_nor_instrument_are_features() -> None:
    dataset = _read([f"{line},X" for line in GOOD], header=HEADER + ",Ticker", horizon=4)

    assert dataset.feature_names == ("a", "b")
    assert dataset.values.tolist() == [[0.5, 10], [1.5, 20], [2.5, 30]]
    assert dataset.labels.tolist() == [0, 1, 2]
    assert dataset.classes == ("-1", "0", "1")
    assert dataset.time[2] == np.datetime64("2020-01-01T02:00")
    assert (dataset.timed, dataset.instruments, dataset.horizon) == (True, ("X",), 4)


def test_a_file_is_a_table_if_it_has_labels() -> None:
    assert is_table(_file(GOOD))
    assert not is_table(_file(GOOD, header="Time,a,b,c"))


def test_without_times_the_rows_are_in_their_order() -> None:
    dataset = _read(["1,0", "2,1", "3,0"], header="x,label")

    assert not dataset.timed
    assert (np.diff(dataset.time) > np.timedelta64(0)).all()


def test_an_empty_label_is_not_known() -> None:
    assert _read(["1,0", "2,", "3,1"], header="x,label").labels.tolist() == [0, UNKNOWN, 1]


def test_parquet_is_read_like_csv() -> None:
    frame = pd.read_csv(io.StringIO("\n".join([HEADER, *GOOD])))
    frame["Time"] = pd.to_datetime(frame["Time"])
    content = io.BytesIO()
    frame.to_parquet(content, index=False)

    dataset = read_table(SourceFile(name="t.parquet", content=content.getvalue()))

    expected = _read(GOOD)
    for column in ("values", "labels", "time"):
        np.testing.assert_array_equal(getattr(dataset, column), getattr(expected, column))


def test_newest_first_rows_are_turned_round_with_all_that_belongs_to_them() -> None:
    ours, theirs = _read(GOOD[::-1]), _read(GOOD)

    for column in ("values", "labels", "time"):
        np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))


def test_instruments_are_put_together() -> None:
    lines = ["1,10,0,B", "1,20,1,A", "2,11,1,B", "2,21,0,A"]

    dataset = _read([f"2020-01-0{line}" for line in lines], header="time,x,label,symbol")

    assert dataset.instruments == ("B", "A")
    assert dataset.starts == (0, 2)
    assert dataset.values[:, 0].tolist() == [10, 11, 20, 21]
    assert dataset.labels.tolist() == [0, 1, 1, 0]


def test_some_rows_of_several_instruments() -> None:
    lines = [f"2020-01-0{day},{day},{day % 2},{name}" for name in "ABC" for day in (1, 2, 3)]
    dataset = _read(lines, header="time,x,label,symbol")

    chosen = dataset.select(np.array([1, 2, 7]))

    assert chosen.instruments == ("A", "C")
    assert chosen.starts == (0, 2)
    assert chosen.values[:, 0].tolist() == [2, 3, 2]


def test_windows_that_touch_a_gap_are_not_used_and_it_is_told() -> None:
    lines = _many(60)
    lines[20:25] = [",nan," + line.rsplit(",", 1)[1] for line in lines[20:25]]

    dataset = _read(lines, header="x,y,label")

    assert usable_rows(dataset, window=3).tolist() == [*range(2, 20), *range(27, 60)]
    told = "5 of 60 rows lack a feature (x: 5 empty, the first on line 22; y: 5 empty, the first on line 22)"
    assert dataset.notes == (f"{told}: no window with one of them is used",)


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (["1,2"], "label,time", "there is no column besides label, time: give at least one"),
        (["1,0", "x,1"], "a,label", r"line 3, column a: 'x' is no number; correct the cell"),
        (["1,0", "inf,1"], "a,label", r"line 3, column a: 'inf' is no finite number of single precision; correct it"),
        (["1,0", "1e39,1"], "a,label", r"line 3, column a: '1e39' is no finite number"),
        (["1,0", "2,0.5"], "a,label", r"line 3, column label: '0.5' is no class; labels are whole numbers"),
        (["1,up", "2,down"], "a,label", r"line 2, column label: 'up' is no number"),
        (["1,3", "2,3"], "a,label", r"column label: all labels are equal \(3\): there is nothing to tell apart; give"),
        (["1,", "2,"], "a,label", r"all labels are equal \(none\)"),
        ([f"1,{n}" for n in range(101)], "a,label", "101 different labels are no classes; give at most 100"),
        (["1,0", ",1", "2,0", "3,1"], "a,label", "1 of 4 rows lack a feature .*: more than 20%; fill the gaps"),
        ([], "a,label", "there is a header, but no row below it"),
        (["1,2,0"], "label,Label,a", "columns label, Label all mean label; leave one"),
        ([GOOD[0], GOOD[2], GOOD[1], "2020-01-02 00:00,1,1,1"], HEADER, "line 4, column Time: .* comes after"),
        ([GOOD[0], GOOD[0], GOOD[1]], HEADER, "line 3, column Time: .* is the time of line 2 again"),
    ],
)
def test_a_bad_table_is_refused_with_the_place(lines: list[str], header: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        _read(lines, header=header)

    assert str(refusal.value).startswith("table.csv: ")


def test_a_long_table_is_read_in_chunks_like_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _many(50)
    expected = _read(lines, header="x,y,label")
    monkeypatch.setattr(cells, "CHUNK_ROWS", 7)

    dataset = _read(lines, header="x,y,label")

    np.testing.assert_array_equal(dataset.values, expected.values)
    np.testing.assert_array_equal(dataset.labels, expected.labels)
