"""From the address of a source to a dataset."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.bars import write_bars
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.market.dataset import UNKNOWN, Dataset, usable_rows
from trainmaster_trainer.market.inputs import load_dataset


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
