"""A process that trains nothing: it tells one epoch after another, and a pump brings them to MLflow, until killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from trainmaster.adapters.mlflow.tracker import MlflowTracker
from trainmaster.adapters.mlflow.uri import sqlite_uri
from trainmaster.adapters.series.files import FileSeriesStore
from trainmaster.api.protocol import Entry, EntryType
from trainmaster.ports.tracking import TrackedRun
from trainmaster.shell.tracking import TrackingPump

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN: Final = TrackedRun(
    uid="5b0f5a0e", namespace="default", name="killed", rerun=0, workload="custom", start_time=START
)
METRICS: Final = ("train_loss", "val_loss", "val_accuracy")


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def epoch(number: int) -> Entry:
    return Entry(
        seq=number,
        type=EntryType.POINT,
        time=datetime.now(UTC),
        generation=1,
        step=10 * number,
        epoch=number,
        kind="validation",
        metrics={name: number / len(name) for name in METRICS},
    )


def make_pump(folder: Path, *, uri: str) -> tuple[FileSeriesStore, TrackingPump]:
    series = FileSeriesStore(folder / "series")
    return series, TrackingPump(series=series, tracker=MlflowTracker(uri), clock=WallClock())


async def _tell(folder: Path, *, epochs: int) -> None:
    series, pump = make_pump(folder, uri=sqlite_uri(folder / "mlflow.db"))
    async with pump:
        pump.register(RUN)
        while (have := series.have_seq(RUN.uid, 1)) < epochs:
            series.take(RUN.uid, rerun=0, launch=1, entries=[epoch(have + 1)])
            pump.wake(RUN.uid)
            await asyncio.sleep(0.005)
        if not await pump.flush(seconds=120):
            message = f"not all was sent: {pump.state(RUN.uid, rerun=0)}"
            raise RuntimeError(message)


def tell(folder: str, epochs: int) -> None:
    """Go on from what the series has to `epochs`, and bring all of it to MLflow."""
    asyncio.run(_tell(Path(folder), epochs=epochs))


def open_only(folder: str) -> None:
    """Create the database and the run."""
    MlflowTracker(sqlite_uri(Path(folder) / "mlflow.db")).open(RUN)


def keep_only(folder: str) -> None:
    """Create the database and the run, and keep a file with it."""
    tracker, model = MlflowTracker(sqlite_uri(Path(folder) / "mlflow.db")), Path(folder) / "model.onnx"
    model.write_bytes(b"model")
    tracker.keep(tracker.open(RUN), model)


@contextmanager
def started(context: ForkServerContext, target: object, *args: object) -> Iterator[BaseProcess]:
    """A process of ours, ended with the block."""
    process = context.Process(target=target, args=args)  # type: ignore[arg-type]  # a function that can be pickled
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
