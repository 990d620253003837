"""Local mode: the operator's loop over this machine's processes, for as long as its runs take.

The same core, reconciler, report server and protocol as in a cluster; the Cluster port is `adapters.local`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiohttp import web

from trainmaster.adapters.local.cluster import LocalCluster, LocalSettings
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.adapters.mlflow_tracking import MlflowTracker
from trainmaster.adapters.series_files import FileSeriesStore
from trainmaster.adapters.system_clock import SystemClock
from trainmaster.api.conditions import Outcome, Phase
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrackingStatus, TrainingRun
from trainmaster.core.snapshot import Event
from trainmaster.ports.tracking import TrackedRun
from trainmaster.shell.progress import Progress
from trainmaster.shell.reconcile import Reconciler
from trainmaster.shell.report_desk import ReportDesk
from trainmaster.shell.report_server import REPORT_PATH, report_app
from trainmaster.shell.tracking import TrackingPump
from trainmaster.shell.work_queue import WorkQueue

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 15
"""How long the end waits for the tracking server: what it does not take is kept, and sent by the next session."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalOptions:
    """What the user says about this session."""

    state: StateDir
    cpus: int
    volumes: Mapping[str, Path]
    tracking_uri: str


class LocalSession:
    """Drives runs on this machine to their end; interrupted at any point, the next session goes on from there."""

    def __init__(
        self,
        options: LocalOptions,
        *,
        on_progress: Callable[[Progress], None],
        on_event: Callable[[TrainingRun, Event], None],
    ) -> None:
        self._options = options
        self._on_progress = on_progress
        self._clock = SystemClock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self._queue = WorkQueue(clock=self._clock, reconcile=self._reconcile)
        self._cluster = LocalCluster(
            state=options.state,
            settings=LocalSettings(
                report_url=f"http://127.0.0.1:{port}{REPORT_PATH}",
                cpus=options.cpus,
                volumes=options.volumes,
                cwd=Path.cwd(),
            ),
            clock=self._clock,
            on_change=self._queue.wake,
            on_event=on_event,
        )
        self._series = FileSeriesStore(options.state.series)
        self._desk = ReportDesk(
            series=self._series,
            clock=self._clock,
            find_run=self._cluster.find,
            localise=self._cluster.localise,
            on_report=self._reported,
        )
        self._reconciler = Reconciler(cluster=self._cluster, clock=self._clock, series=self._desk)
        self._pump = TrackingPump(
            series=self._series,
            tracker=MlflowTracker(options.tracking_uri),
            clock=self._clock,
            on_open=self._tracked,
        )
        self._settled: dict[Key, TrainingRun] = {}
        self._wanted: tuple[Key, ...] = ()
        self._all_settled = asyncio.Event()

    def interrupt(self, *, at_once: bool = False) -> None:
        """End the session: launches save and end; with `at_once` they are killed."""
        self._cluster.interrupt()
        if at_once:
            self._cluster.kill()

    async def run(self, runs: Sequence[TrainingRun]) -> tuple[TrainingRun, ...]:
        """Apply runs and drive them until each is finished or suspended.

        Raises:
            TrainmasterError: A run is locked by another session, an update is refused, the state is unreadable.
        """
        with ExitStack() as locks:
            self._wanted = tuple(run.metadata.key for run in runs)
            for key in self._wanted:
                locks.callback(self._options.state.lock_run(key).release)
            applied = [self._cluster.apply(run) for run in runs]
            async with self._serving(), self._pump:
                for run in applied:
                    self._queue.wake(run.metadata.key)
                await self._all_settled.wait()
                await self._cluster.close()
                await self._send_last_points()
            return tuple(self._settled[key] for key in self._wanted)

    async def _send_last_points(self) -> None:
        if await self._pump.flush(seconds=FLUSH_SECONDS):
            return
        for run in self._settled.values():
            state = self._pump.state(run.metadata.uid, rerun=run.status.reruns)
            if state is not None and state.waiting:
                logger.warning(
                    "%s: %d points wait for the tracking server (%s); they are kept, the same command sends them later",
                    run.metadata.key,
                    state.waiting,
                    state.trouble,
                )

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """The report server, the work queue and the tracking pump, for as long as the block takes."""
        server = web.AppRunner(report_app(desk=self._desk, authenticator=self._cluster), access_log=None)
        await server.setup()
        await web.SockSite(server, self._listener).start()
        worker = asyncio.create_task(self._queue.run())
        try:
            yield
        finally:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker
            await server.cleanup()

    def _track(self, run: TrainingRun) -> None:
        """Have this rerun tracked; and its tracked run closed, once it has ended."""
        status, meta = run.status, run.metadata
        if status.plan is None or status.start_time is None:
            return
        self._pump.register(
            TrackedRun(
                uid=meta.uid,
                namespace=meta.namespace,
                name=meta.name,
                rerun=status.reruns,
                workload=run.spec.workload,
                start_time=status.start_time,
                hyperparameters=dict(status.plan.hyperparameters),
                data_source=run.spec.data.source if run.spec.data else None,
            )
        )
        self._pump.wake(meta.uid)
        if status.completion_time is not None:
            outcome = Outcome.COMPLETED if status.phase == Phase.SUCCEEDED else Outcome.FAILED
            self._pump.finish(meta.uid, rerun=status.reruns, outcome=outcome, end_time=status.completion_time)

    def _tracked(self, run: TrackedRun, where: TrackingStatus) -> None:
        self._desk.tracked(run.uid, rerun=run.rerun, where=where)
        self._queue.wake(Key(run.namespace, run.name))

    def _reported(self, run: TrainingRun) -> None:
        self._queue.wake(run.metadata.key)
        self._tell(run)

    async def _reconcile(self, key: Key) -> datetime | None:
        again = await self._reconciler.reconcile(key)
        observation = await self._cluster.observe(key, live=True)
        if observation is None:
            return None
        run = observation.run
        self._track(run)
        self._tell(run)
        if run.status.phase in Phase.TERMINAL | {Phase.SUSPENDED}:
            self._settled[key] = run
            if set(self._wanted) <= set(self._settled):
                self._all_settled.set()
        return again

    def _tell(self, run: TrainingRun) -> None:
        points = self._series.points(run.metadata.uid, rerun=run.status.reruns, kind="validation")
        self._on_progress(
            Progress(
                run=run,
                trainer=self._desk.trainer_state(run),
                newest=points[-1] if points else None,
                now=self._clock.now(),
            )
        )
