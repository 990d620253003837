"""Local mode's cluster on a state directory, with a server that hears its launchers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.cluster_stage import Bench
from tests.support.report_server import ReportServer, Scripted
from trainmaster.adapters.local.cluster import LocalCluster, LocalSettings
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.adapters.system_clock import SystemClock
from trainmaster.api.trainingrun import TrainingRun


def _heard(report: dict[str, Any]) -> Scripted:
    """Any launcher is told that all it said is kept, and no plan: it goes by that of its creation."""
    reply = {"protocol": 1, "haveSeq": report["lastSeq"], "plan": {}, "nextReportSeconds": 0.1}
    return Scripted(status=200, body=json.dumps(reply).encode())


class LocalBench(Bench):
    """Local mode's cluster on a state directory."""

    def __init__(self, folder: Path, *, report_url: str) -> None:
        self.state = StateDir(folder / "state")
        self._events: list[str] = []
        self.local = LocalCluster(
            state=self.state,
            settings=LocalSettings(report_url=report_url, cpus=2, volumes={}, cwd=folder),
            clock=SystemClock(),
            on_change=lambda _key: None,
            on_event=lambda _run, event: self._events.append(f"{event.reason}: {event.message}"),
        )
        self.cluster = self.local

    async def events(self) -> list[str]:
        return self._events

    async def queue(self, job: str) -> None:
        """Local mode holds it by itself."""

    async def admit(self, job: str) -> None:
        """Local mode starts it by itself."""

    async def store(self, run: TrainingRun) -> TrainingRun:
        return self.local.apply([run])[0]

    async def remove(self, run: TrainingRun) -> None:
        (self.state.objects / run.metadata.namespace / f"{run.metadata.name}.json").unlink()


@asynccontextmanager
async def local_bench(folder: Path) -> AsyncIterator[LocalBench]:
    """A bench in this folder; nothing of its launches is left at the end."""
    server = ReportServer({})
    server.script = _heard
    bench = LocalBench(folder, report_url=server.url)
    try:
        yield bench
    finally:
        bench.local.interrupt()
        bench.local.kill()
        await bench.local.close()
        server.close()
