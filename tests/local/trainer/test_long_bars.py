"""A long file costs memory by its features alone: single precision, mapped, scaled in place, windows gathered."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SHORT, LONG = 200_000, 1_000_000
BYTES_PER_ROW = 450
"""Features of a row take 31 * 4 = 124 bytes, its prices, volume, time and label 64; the rest is what computing one
column needs, and chunks. In double precision, with windows copied, it would be 31 * 8 * 24 = 5,952 and more."""


def _measured(rows: int, folder: Path, name: str) -> dict[str, Any]:
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.long_bars", str(rows), str(folder), name],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
        text=True,
        timeout=300,
    )
    measured: dict[str, Any] = json.loads(run.stdout)
    return measured


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["bars.parquet", pytest.param("bars.csv", marks=pytest.mark.soak)])
def test_a_million_bars_cost_what_their_features_take(tmp_path: Path, name: str) -> None:
    short = _measured(SHORT, tmp_path / "short", name)
    long = _measured(LONG, tmp_path / "long", name)

    assert long["rows"] == LONG
    assert long["finite"]
    assert (long["peak"] - short["peak"]) / (LONG - SHORT) < BYTES_PER_ROW
