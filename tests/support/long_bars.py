"""What a long file of bars costs in memory, measured in a process of its own.

`python -m tests.support.long_bars ROWS FOLDER` writes ROWS bars of one minute to FOLDER, prepares them as a workload
does, gathers windows, and prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # brings no types
import torch
from pyarrow import parquet

from trainmaster_trainer.market.dataset import usable_rows
from trainmaster_trainer.market.inputs import load_dataset
from trainmaster_trainer.market.scaler import Scaler
from trainmaster_trainer.market.split import split_dataset
from trainmaster_trainer.market.store import FeatureStore

WINDOW = 24
BATCH = 128
CHUNK = 200_000


def write_long_bars(path: Path, rows: int) -> Path:
    """A random walk with ranges and volumes, written in chunks; Parquet or CSV by the name."""
    rng = np.random.default_rng(0)
    schema = pa.schema(
        [("time", pa.timestamp("ns")), *((n, pa.float64()) for n in ("open", "high", "low", "close", "volume"))]
    )
    close = 100.0
    with path.open("wb") as stream:
        writer = parquet.ParquetWriter(stream, schema) if path.suffix == ".parquet" else None
        for begin in range(0, rows, CHUNK):
            count = min(CHUNK, rows - begin)
            closes = close * np.exp(np.cumsum(rng.normal(0, 0.0005, count)))
            opens = np.r_[close, closes[:-1]]
            highs, lows = np.maximum(opens, closes) * 1.0002, np.minimum(opens, closes) / 1.0002
            times = np.datetime64("2000-01-01", "ns") + np.arange(begin, begin + count) * np.timedelta64(60, "s")
            columns = [times, opens, highs, lows, closes, rng.lognormal(5, 0.5, count)]
            table = pa.table(columns, schema=schema)
            if writer is None:
                table.to_pandas().to_csv(stream, index=False, header=begin == 0)
            else:
                writer.write_table(table)
            close = closes[-1]
        if writer is not None:
            writer.close()
    return path


def peak_bytes() -> int:
    """The most memory that this process has had, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(rows: int, folder: Path, name: str) -> None:
    """Measure, and print what was measured."""
    write_long_bars(folder / name, rows)
    store = FeatureStore(folder=folder)
    before, begun = peak_bytes(), time.monotonic()
    dataset = load_dataset(f"pvc://data/{name}", volumes={"data": str(folder)}, horizon=1, dead_zone=0.43, store=store)
    loaded = peak_bytes()
    usable = usable_rows(dataset, window=WINDOW)
    split = split_dataset(dataset, usable=usable, embargo=WINDOW, validation_share=0.1, test_share=0.2)
    scaler = Scaler.fit(dataset.values, rows=split.train)
    scaler.scale(dataset.values, limit=5.0)
    inputs = torch.from_numpy(dataset.values)
    rows_of_batch = torch.from_numpy(split.train[:: max(len(split.train) // BATCH, 1)][:BATCH])
    windows = inputs[rows_of_batch[:, None] + torch.arange(1 - WINDOW, 1)]
    print(  # noqa: T201  # what it is for
        json.dumps(
            {
                "rows": len(dataset),
                "before": before,
                "loaded": loaded,
                "peak": peak_bytes(),
                "seconds": time.monotonic() - begun,
                "windows": list(windows.shape),
                "finite": bool(windows.isfinite().all()),
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
