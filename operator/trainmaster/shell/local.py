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
from trainmaster.adapters.local.model_files import find_model_files
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.adapters.mlflow.tracker import MlflowTracker
from trainmaster.adapters.series.files import FileSeriesStore
from trainmaster.adapters.system_clock import SystemClock
from trainmaster.api.conditions import Outcome, Phase
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.api.protocol import EntryType
from trainmaster.api.trainingrun import TrackingStatus, TrainingRun
from trainmaster.core.run.standing import terminal_standing
from trainmaster.core.snapshot import Event
from trainmaster.ports.tracking import TrackedRun
from trainmaster.shell.progress import Progress
from trainmaster.shell.reconcile import Reconciler
from trainmaster.shell.report_desk import ReportDesk
from trainmaster.shell.report_server import REPORT_PATH, report_app
from trainmaster.shell.tracking import TrackingPump
from trainmaster.shell.work_queue import WorkQueue

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 90
"""How long the end waits for tracking: what it does not take is kept, and sent by the next session. To import MLflow
and create its database takes 7 s on a quiet machine, and ten times that where others train; the process could not end
before in any case. A server that is out of reach is not waited for so long."""
FLUSH_LOOK_SECONDS = 3
"""After so long without success it is asked why: a server that is out of reach is not waited for any longer."""
FINAL_PASSES = 10
"""Passes over a run at the end of a session, at most; an ended launch takes four: account, write, look, settle."""


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
        self._on_event = on_event
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
        self._searched: set[tuple[str, int]] = set()
        """Reruns whose files about the model have been looked for."""
        self._over = asyncio.Event()
        """All runs are settled, or nobody wants to wait for it any more."""
        self._hurried = False

    @property
    def alive(self) -> bool:
        """Whether any launcher lives: only then is there something to save."""
        return self._cluster.alive()

    def interrupt(self, *, at_once: bool = False) -> None:
        """End the session: launches save and end; with `at_once` they are killed, and no status is waited for."""
        self._cluster.interrupt()
        # With nothing to save there is nothing to wait for, least of all a disk that is full.
        if at_once or not self.alive:
            self._hurried = True
            self._cluster.kill()
            self._over.set()

    async def run(self, runs: Sequence[TrainingRun]) -> tuple[TrainingRun, ...]:
        """Apply runs and drive them until each is finished or suspended.

        Returns:
            The runs as they are stored in the end, in the order of `runs`.

        Raises:
            TrainmasterError: A run is locked by another session, an update is refused, the state is unreadable.
        """
        with ExitStack() as locks:
            self._wanted = tuple(run.metadata.key for run in runs)
            for key in self._wanted:
                locks.callback(self._options.state.lock_run(key).release)
            applied = self._cluster.apply(runs)
            for run in applied:
                self._desk.trainer_state(run)  # a damaged series is refused here, not in the middle of the night
                self._tell_finished(run)
            async with self._pump:
                async with self._serving():
                    for run in applied:
                        self._queue.wake(run.metadata.key)
                    await self._over.wait()
                    await self._cluster.close()
                await self._send_last_points()
                return tuple([await self._final(run) for run in applied])

    def _tell_finished(self, run: TrainingRun) -> None:
        status = run.status
        if status.phase in Phase.TERMINAL and status.observed_rerun == run.spec.rerun:
            why = terminal_standing(status)
            said = f"{status.phase} already ({why.reason}{': ' + why.message if why.message else ''})"
            again = f'rerun: "{status.reruns + 1}"'
            message = f"{said}; to train again put {again} under spec in the manifest"
            self._on_event(run, Event(type="Normal", reason="Finished", message=message))

    async def _final(self, run: TrainingRun) -> TrainingRun:
        """The run as stored in the end; what the tracker told last is taken into its status before."""
        key = run.metadata.key
        try:
            for _ in range(FINAL_PASSES):
                again = await self._reconciler.reconcile(key)
                if again is None or again > self._clock.now():
                    break
        except TrainmasterError as error:
            logger.warning("%s: its last status is not stored: %s", key, error)
        return self._cluster.find(run.metadata.uid) or run

    async def _send_last_points(self) -> None:
        for _ in range(FLUSH_SECONDS // FLUSH_LOOK_SECONDS):
            if self._hurried or await self._pump.flush(seconds=FLUSH_LOOK_SECONDS):
                return
            states = [
                (run, self._pump.state(run.metadata.uid, rerun=run.status.reruns)) for run in self._settled.values()
            ]
            if any(state is not None and state.trouble for _, state in states):
                break
        for run, state in states:
            if state is not None and state.waiting:
                logger.warning(
                    "%s: %d points wait for the tracking server; they are kept, the same command sends them later",
                    run.metadata.key,
                    state.waiting,
                )
            elif state is not None and state.files:
                logger.warning(
                    "%s: files about the model that tracking lacks: %d; kept, the same command sends them later",
                    run.metadata.key,
                    state.files,
                )

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """The report server and the work queue, for as long as the block takes."""
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
            if outcome == Outcome.COMPLETED:
                self._keep_model_files(run)

    def _keep_model_files(self, run: TrainingRun) -> None:
        """Have copies of what the last launch left beside its checkpoints kept with the tracked run."""
        uid, rerun, root = run.metadata.uid, run.status.reruns, self._cluster.checkpoints(run)
        # From an object store nothing is fetched: the trainer alone has a client for it.
        if root is None or (uid, rerun) in self._searched:
            return
        self._searched.add((uid, rerun))
        saved = self._series.entries(uid, rerun=rerun, entry_type=EntryType.CHECKPOINT)
        checkpoints = [entry.checkpoint.path for entry in saved if entry.checkpoint is not None]
        found = find_model_files(root / str(run.status.launch), checkpoints=checkpoints)
        self._pump.keep(uid, rerun=rerun, files=found.files)
        for each in found.left_out:
            logger.warning("%s: beside its checkpoints, and not copied to tracking: %s", run.metadata.key, each)

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
        # What is due at once (an effect, the pass after a write) is done before the session ends.
        if run.status.phase in Phase.TERMINAL | {Phase.SUSPENDED} and (again is None or again > self._clock.now()):
            self._settled[key] = run
            if set(self._wanted) <= set(self._settled):
                self._over.set()
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
