"""Features that were computed once: kept, found again, and made again where an entry is damaged."""

import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.bars import bar_lines, write_bars, write_lines
from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market import inputs, store
from trainmaster_trainer.market.dataset import Dataset
from trainmaster_trainer.market.inputs import load_dataset
from trainmaster_trainer.market.store import META, FeatureStore

TABLE = ["2020-01-01,1,0.5,0", "2020-01-02,2,,1", "2020-01-03,3,1.5,0", *(f"2020-01-{d:02d},{d},1,1" for d in range(4, 20))]  # fmt: skip  # noqa: E501  # a table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "features"
    path.mkdir()
    return path


def _load(path: Path, folder: Path | None, *, source: str = "pvc://data/{}", horizon: int = 1) -> Dataset:
    kept = None if folder is None else FeatureStore(folder=folder)
    address = source.format(path.name)
    return load_dataset(address, volumes={"data": str(path.parent)}, horizon=horizon, dead_zone=0.43, store=kept)


def _entries(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{META}"))


def _assert_same(ours: Dataset, theirs: Dataset) -> None:
    for column in ("values", "labels", "time"):
        np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))
    for field in ("name", "fingerprint", "feature_names", "classes", "instruments", "starts", "notes", "timed"):
        assert getattr(ours, field) == getattr(theirs, field)


def _refuse(*_: object) -> None:
    raise AssertionError("the entry should have been found")


@pytest.mark.parametrize("source", ["pvc://data/{}", "synthetic://coinflip?of=pvc://data/{}&seed=3"])
def test_bars_are_read_once(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    path = write_bars(tmp_path / "a.csv", 300)
    first = _load(path, folder, source=source)
    monkeypatch.setattr(inputs, "read_bars", _refuse)

    again = _load(path, folder, source=source)

    _assert_same(again, first)
    monkeypatch.undo()
    _assert_same(first, _load(path, None, source=source))


def test_a_table_is_read_once_with_its_notes(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "t.csv", TABLE, header="time,a,b,label")
    first = _load(path, folder)
    monkeypatch.setattr(inputs, "read_table", _refuse)

    again = _load(path, folder)

    _assert_same(again, first)
    assert "1 of 19 rows lack a feature" in again.notes[0]


def test_labels_are_made_anew_for_each_horizon(tmp_path: Path, folder: Path) -> None:
    path = write_bars(tmp_path / "a.csv", 300)

    short, long = (_load(path, folder, horizon=h) for h in (1, 5))

    assert len(_entries(folder)) == 1
    assert not np.array_equal(short.labels, long.labels)
    np.testing.assert_array_equal(long.labels, _load(path, None, horizon=5).labels)


def test_other_bars_and_other_code_have_another_entry(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(write_bars(tmp_path / "a.csv", 300), folder)
    _load(write_bars(tmp_path / "b.csv", 300, seed=1), folder)
    assert len(_entries(folder)) == 2

    monkeypatch.setattr(store, "code_version", lambda: "tomorrow's")
    _load(tmp_path / "a.csv", folder)

    assert len(_entries(folder)) == 3


def test_scaling_in_place_changes_no_entry(tmp_path: Path, folder: Path) -> None:
    path = write_bars(tmp_path / "a.csv", 300)
    first = _load(path, folder)
    expected = np.array(first.values)

    torch.from_numpy(first.values).fill_(7.0)

    np.testing.assert_array_equal(_load(path, folder).values, expected)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda entry: _flip(entry / "values.npy", at=-3),
    "a flipped bit in the header": lambda entry: _flip(entry / "time.npy", at=0),
    "cut short": lambda entry: os.truncate(entry / "values.npy", 1000),
    "an array is gone": lambda entry: (entry / "close.npy").unlink(),
    "no JSON": lambda entry: (entry / META).write_text("{"),
    "a field is gone": lambda entry: (entry / META).write_text(json.dumps({"arrays": {}})),
}


def _flip(path: Path, *, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again_and_told(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = write_bars(tmp_path / "a.csv", 300)
    expected = np.array(_load(path, folder).values)
    (entry,) = _entries(folder)
    DAMAGES[damage](entry)

    np.testing.assert_array_equal(_load(path, folder).values, expected)

    assert f"the stored features in {entry} are damaged" in caplog.text
    caplog.clear()
    _load(path, folder)
    assert caplog.text == "", "the entry is whole again"


def test_an_entry_that_cannot_be_written_stays_in_memory(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = write_bars(tmp_path / "a.csv", 300)
    monkeypatch.setattr(np.lib.format, "open_memmap", full)

    dataset = _load(path, folder)

    assert "features cannot be kept in" in caplog.text
    assert "No space left on device" in caplog.text
    _assert_same(dataset, _load(path, None))
    assert list(folder.iterdir()) == []


def test_bad_bars_leave_nothing_behind(tmp_path: Path, folder: Path) -> None:
    path = write_lines(tmp_path / "a.csv", [*bar_lines(5), "2020-02-01,1,1,1,0,1"])

    with pytest.raises(DataError, match="line 7, column Close"):
        _load(path, folder)

    assert list(folder.iterdir()) == []


def test_what_nobody_finished_goes_after_a_day(tmp_path: Path, folder: Path) -> None:
    for name, age in ((".new-old", 2 * 86_400), (".new-now", 60)):
        (folder / name).mkdir()
        os.utime(folder / name, (time.time() - age,) * 2)

    _load(write_bars(tmp_path / "a.csv", 300), folder)

    assert [path.name for path in folder.glob(".new-*")] == [".new-now"]


def test_the_entries_used_last_are_kept(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_ENTRIES", 2)
    paths = [write_bars(tmp_path / f"{n}.csv", 100, seed=n) for n in range(3)]
    _load(paths[0], folder)
    (first,) = _entries(folder)
    _load(paths[1], folder)
    os.utime(next(entry for entry in _entries(folder) if entry != first) / META, (1, 1))

    _load(paths[2], folder)

    assert len(_entries(folder)) == 2
    assert first in _entries(folder)


def test_processes_that_make_the_same_entry_at_once_agree(tmp_path: Path, folder: Path) -> None:
    path = write_bars(tmp_path / "a.csv", 300)
    context = multiprocessing.get_context("spawn")

    with context.Pool(3) as pool:
        sums = pool.starmap(_checksum, [(path, folder)] * 6)

    assert len(set(sums)) == 1
    assert len(_entries(folder)) == 1
    assert list(folder.glob(".new-*")) == []


def _checksum(path: Path, folder: Path) -> float:
    return float(np.nansum(_load(path, folder).values))


def test_the_users_own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    found = FeatureStore.default()

    assert found is not None
    assert found.folder == tmp_path / "cache" / "trainmaster" / "features"
    assert found.folder.is_dir()


def test_without_a_place_to_write_there_is_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    with caplog.at_level(logging.INFO):
        assert FeatureStore.default() is None

    assert "features are not kept on disk" in caplog.text


@pytest.mark.parametrize(("days", "rows"), [(1, 24), (5, 120), (1000, 300)])
def test_the_newest_days_keep_the_features_of_the_whole(tmp_path: Path, days: int, rows: int) -> None:
    path = write_bars(tmp_path / "a.csv", 300)
    whole = _load(path, None)

    newest = load_dataset(
        "pvc://data/a.csv", volumes={"data": str(tmp_path)}, horizon=1, dead_zone=0.43, feature_store_days=days
    )

    assert len(newest) == rows
    np.testing.assert_array_equal(newest.values, whole.values[-rows:])
    np.testing.assert_array_equal(newest.labels, whole.labels[-rows:])
    assert (newest.notes == ()) is (days == 1000)


def test_the_newest_days_are_counted_from_the_newest_row_of_all_instruments(tmp_path: Path) -> None:
    days = [(1, "A"), (2, "A"), (30, "A"), (29, "B"), (30, "B")]
    lines = [f"2020-01-{day:02d},{day},{day % 2},{name}" for day, name in days]
    path = write_lines(tmp_path / "t.csv", lines, header="time,x,label,symbol")

    newest = load_dataset(
        f"pvc://data/{path.name}", volumes={"data": str(tmp_path)}, horizon=1, dead_zone=0.0, feature_store_days=7
    )

    assert newest.values[:, 0].tolist() == [30, 29, 30]
    assert newest.starts == (0, 1)
    assert newest.notes == ("of 5 rows the newest 3 are used (featureStoreDays 7)",)


def test_rows_without_times_have_no_days(tmp_path: Path) -> None:
    write_lines(tmp_path / "t.csv", ["1,0", "2,1"], header="x,label")

    with pytest.raises(DataError, match=r"featureStoreDays 7 needs to know when a row was: add a column of times"):
        load_dataset("pvc://data/t.csv", volumes={"data": str(tmp_path)}, horizon=1, dead_zone=0, feature_store_days=7)


def test_a_chain_keeps_its_truth_when_only_its_newest_days_are_used() -> None:
    source = "synthetic://hmm?rows=5000"
    whole = load_dataset(source, volumes={}, horizon=1, dead_zone=0)

    newest = load_dataset(source, volumes={}, horizon=1, dead_zone=0, feature_store_days=1)

    assert len(newest) == 1440
    assert whole.truth is not None
    assert newest.truth is not None
    assert newest.truth.ceiling(np.arange(100, 1440), window=50) == whole.truth.ceiling(
        np.arange(5000 - 1340, 5000), window=50
    )
