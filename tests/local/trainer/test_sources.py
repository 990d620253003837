import importlib.metadata
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.sources import read_source

RECORD = "numpy-{version}.dist-info/METADATA"


def test_a_file_of_an_installed_distribution_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "bars_for_tests-1.0.dist-info"
    (tmp_path / "bars_for_tests").mkdir()
    info.mkdir()
    (tmp_path / "bars_for_tests" / "__init__.py").write_text("raise RuntimeError('nobody imports me')")
    (tmp_path / "bars_for_tests" / "x.csv").write_text("Time\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bars-for-tests\nVersion: 1.0\n")
    (info / "RECORD").write_text("bars_for_tests/__init__.py,,\nbars_for_tests/x.csv,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    file = read_source("package://bars-for-tests/bars_for_tests/x.csv", volumes={})

    assert file.open().read() == b"Time\n"
    assert "bars_for_tests" not in sys.modules


def test_a_file_of_a_claim_is_read(tmp_path: Path) -> None:
    (tmp_path / "fx").mkdir()
    (tmp_path / "fx" / "x.csv").write_text("Time\n")

    file = read_source("pvc://data/fx/x.csv", volumes={"data": str(tmp_path)})

    assert file.name == "pvc://data/fx/x.csv"
    assert file.open().read() == b"Time\n"
    assert file.sha256 != read_source(f"package://numpy/{_numpy_metadata()}", volumes={}).sha256


def _numpy_metadata() -> str:
    return RECORD.format(version=importlib.metadata.version("numpy"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("package://not-there-at-all/x.csv", "the distribution not-there-at-all is not installed"),
        ("package://numpy/numpy/nothing.csv", r"numpy [\d.]+ has no file numpy/nothing.csv; check the path"),
        ("package://numpy/../../etc/passwd", "without '..' in it"),
        ("pvc://data/none.csv", "there is no file .*none.csv; correct spec.data.source"),
        ("pvc://data/folder", "is a folder; spec.data.source must name one file"),
        ("pvc://data/empty.csv", "empty.csv is empty; it needs a header"),
        ("pvc://data/blank.csv", "blank.csv is empty; it needs a header"),
        ("pvc://data/../x.csv", "without '..' in it"),
        ("pvc://data/out", "leads out of the claim data through a link"),
        ("pvc://other/x.csv", r"mounts no claim other \(it mounts: data\)"),
        ("pvc://data", "a source is package://DISTRIBUTION/PATH or pvc://CLAIM/PATH"),
        ("s3://bucket/x.csv", "reads package:// and pvc:// sources, not s3://"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_by_name(tmp_path: Path, source: str, message: str) -> None:
    volume = tmp_path / "volume"
    (volume / "folder").mkdir(parents=True)
    (volume / "empty.csv").write_text("")
    (volume / "blank.csv").write_text("\n \n")
    (tmp_path / "secret").write_text("x")
    (volume / "out").symlink_to(tmp_path / "secret")

    with pytest.raises(DataError, match=message) as refusal:
        read_source(source, volumes={"data": str(volume)})

    assert str(refusal.value).startswith(source)


def test_a_file_that_the_disk_does_not_give_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, mode: str) -> BinaryIO:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", broken)

    with pytest.raises(DataError, match="cannot be read: Permission denied; the trainer's user needs to read it"):
        read_source("pvc://data/x.csv", volumes={"data": str(tmp_path)})
