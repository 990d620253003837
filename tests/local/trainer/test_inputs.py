"""From the address of a source to a dataset."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.bars import HEADER, bar_lines, write_bars, write_lines
from trainmaster_trainer.errors import ConfigurationError, DataError
from trainmaster_trainer.market.dataset import UNKNOWN, Dataset, usable_rows
from trainmaster_trainer.market.inputs import load_dataset
from trainmaster_trainer.market.split import split_dataset


def _load(source: str, folder: Path, *, horizon: int = 1, dead_zone: float = 0.0) -> Dataset:
    return load_dataset(source, volumes={"data": str(folder)}, horizon=horizon, dead_zone=dead_zone)


def test_bars_become_features_and_labels(tmp_path: Path) -> None:
    write_bars(tmp_path / "a.csv", 400)

    dataset = _load("pvc://data/a.csv", tmp_path, horizon=3)

    assert dataset.values.shape == (400, len(dataset.feature_names))
    assert dataset.classes == ("down", "up")
    assert (dataset.labels[-3:] == UNKNOWN).all()
    assert usable_rows(dataset, window=10)[[0, -1]].tolist() == [60 + 9, 396]
    assert dataset.truth is None


def test_a_chain_knows_its_truth(tmp_path: Path) -> None:
    dataset = _load("synthetic://hmm?rows=500&separation=2", tmp_path)

    assert len(dataset) == 500
    assert dataset.truth is not None
    assert dataset.truth.ceiling(usable_rows(dataset, window=10), window=10).bayes_accuracy > 0.7


@pytest.mark.parametrize(("dead_zone", "known"), [(0.0, True), (0.43, False)])
def test_a_twin_knows_its_truth_where_there_is_up_and_down_only(tmp_path: Path, dead_zone: float, known: bool) -> None:  # noqa: FBT001  # a column of the table
    write_bars(tmp_path / "a.csv", 400)

    dataset = _load("synthetic://coinflip?of=pvc://data/a.csv&seed=4", tmp_path, dead_zone=dead_zone)

    assert (dataset.truth is not None) is known
    assert dataset.fingerprint != _load("pvc://data/a.csv", tmp_path).fingerprint
    assert dataset.name == "coin-flip twin of pvc://data/a.csv"


def test_a_twin_differs_from_its_bars_in_direction(tmp_path: Path) -> None:
    write_bars(tmp_path / "a.csv", 4000)

    bars = _load("pvc://data/a.csv", tmp_path)
    twin = _load("synthetic://coinflip?of=pvc://data/a.csv", tmp_path)

    rows = usable_rows(bars, window=1)
    assert (bars.labels[rows] == twin.labels[rows]).mean() == pytest.approx(0.5, abs=0.04)
    np.testing.assert_array_equal(bars.time, twin.time)


def test_a_source_that_nobody_can_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='has no key "seperation"; did you mean "separation"'):
        _load("synthetic://hmm?seperation=1", tmp_path)


@pytest.mark.parametrize("rows", [1, 2, 10, 60, 70, 75])
def test_a_few_bars_are_read_and_then_too_few_to_split(tmp_path: Path, rows: int) -> None:
    write_bars(tmp_path / "a.csv", rows)

    dataset = _load("pvc://data/a.csv", tmp_path)
    usable = usable_rows(dataset, window=10)

    assert len(dataset) == rows
    with pytest.raises(DataError, match=r"\d+ usable rows leave none for the .* block \(embargo 24\): give more rows"):
        split_dataset(dataset, usable=usable, embargo=24, validation_share=0.1, test_share=0.2)


def test_a_feature_table_is_known_by_its_labels(tmp_path: Path) -> None:
    write_lines(tmp_path / "t.csv", [f"{n},{n % 2}" for n in range(50)], header="x,label")

    dataset = _load("pvc://data/t.csv", tmp_path, horizon=4)

    assert dataset.feature_names == ("x",)
    assert dataset.horizon == 4
    assert not dataset.timed
    assert usable_rows(dataset, window=10).tolist() == list(range(9, 50))


def test_columns_that_are_unknown_are_told_or_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.csv", [f"{line},9" for line in bar_lines(100)], header=HEADER + ",Whatever")
    write_lines(tmp_path / "t.csv", ["a,0", "b,1"], header="Whatever,label")
    write_lines(tmp_path / "n.csv", ["1,2"], header="Whatever,Else")

    assert "nothing is made of column Whatever" in _load("pvc://data/a.csv", tmp_path).notes[0]
    with pytest.raises(DataError, match="line 2, column Whatever: 'a' is no number"):
        _load("pvc://data/t.csv", tmp_path)
    with pytest.raises(
        DataError, match=r"column time, open, .* is missing \(the file has: Whatever, Else\); .*`label`"
    ):
        _load("pvc://data/n.csv", tmp_path)
