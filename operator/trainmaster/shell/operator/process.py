"""One operator process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from typing import Final

from aiohttp import web

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import ApiClient
from trainmaster.adapters.kubernetes.cluster import KubernetesCluster
from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.adapters.kubernetes.events import EventRecorder
from trainmaster.adapters.kubernetes.lease import LeaderElector
from trainmaster.adapters.kubernetes.manifest import LaunchSettings
from trainmaster.adapters.kubernetes.reflector import Cache, Reflector
from trainmaster.adapters.kubernetes.store import Stores, new_stores
from trainmaster.adapters.kubernetes.token_review import TokenReviewAuthenticator
from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.adapters.system_clock import SystemClock
from trainmaster.api.labels import LABEL_RUN_UID
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.shell.operator.health import health_app
from trainmaster.shell.operator.metrics import Metrics
from trainmaster.shell.operator.run_watch import RunWatch
from trainmaster.shell.operator.settings import OperatorSettings
from trainmaster.shell.reconcile import Reconciler
from trainmaster.shell.report_desk import ReportDesk
from trainmaster.shell.report_server import report_app
from trainmaster.shell.work_queue import WorkQueue

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 2
"""How long a graceful end waits for Events that were recorded."""


class OperatorProcess:
    """All parts of an operator, wired."""

    def __init__(self, settings: OperatorSettings, *, load: Callable[[], Connection]) -> None:
        self._settings = settings
        self._load = load
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._queue = WorkQueue(clock=self._clock, reconcile=self._reconcile, observer=self._metrics)
        self._stores: Stores = new_stores(self._queue.wake)
        self._elector: LeaderElector | None = None
        self._client = ApiClient(load, on_request=self._metrics.request, may_write=self._check_leading)
        self._recorder = EventRecorder(
            client=self._client,
            clock=self._clock,
            identity=settings.identity,
            on_sent=self._metrics.events.inc,
        )
        self._cluster = KubernetesCluster(
            client=self._client,
            stores=self._stores,
            settings=LaunchSettings(image=settings.image, report_url=settings.report_url, ca_file=settings.ca_file),
            recorder=self._recorder,
        )
        self._desk = ReportDesk(
            series=MemorySeriesStore(),
            clock=self._clock,
            find_run=self._cluster.find,
            localise=self._cluster.localise,
            on_report=self._reported,
        )
        self._reconciler = Reconciler(cluster=self._cluster, clock=self._clock, series=self._desk)
        self._reflectors = self._watches()
        self._working = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then end gracefully.

        Raises:
            LostLeadershipError: Another replica may act now.
            WatchEndedError: A part has died that the process is no use without.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # The Lease has a client of its own: a flood of other requests must not make it late.
        async with self._client, ApiClient(self._load) as lease_client:
            self._elector = self._new_elector(lease_client)
            async with self._serving():
                await self._until(stop)
                logger.info("ending")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_SECONDS):
                        await self._recorder.flush()
            if self._elector is not None:
                await self._elector.release()

    async def _until(self, stop: asyncio.Event) -> None:
        """Run all parts until one fails or the end is asked for."""
        parts: list[Coroutine[object, object, None]] = [
            *(reflector.run() for reflector in self._reflectors),
            RunWatch(self._stores.runs, load=self._load, namespaces=self._settings.namespaces).run(),
            self._recorder.run(),
            self._lead(),
        ]
        tasks = [asyncio.create_task(part) for part in parts]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
        finally:
            # Reverse order: no new work first, then the watches.
            for task in (stopping, *reversed(tasks)):
                task.cancel()
            await asyncio.gather(stopping, *tasks, return_exceptions=True)

    async def _lead(self) -> None:
        """Work as long as this replica leads."""
        for reflector in self._reflectors:
            await reflector.synced.wait()
        if self._elector is None:
            await self._work()
            return
        await self._elector.acquire()
        logger.info("%s leads", self._settings.identity)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._elector.hold())
            group.create_task(self._work())

    async def _work(self) -> None:
        self._working = True
        self._metrics.leading.set(1)
        await self._queue.run(workers=self._settings.workers)

    def _new_elector(self, client: ApiClient) -> LeaderElector | None:
        if not self._settings.elect:
            return None
        namespace = self._settings.lease_namespace or self._load().namespace
        return LeaderElector(
            client,
            lease=Key(namespace, self._settings.lease_name),
            identity=self._settings.identity,
            report_url=self._settings.report_url,
        )

    def _check_leading(self) -> None:
        if self._elector is not None:
            self._elector.check()

    def _watches(self) -> list[Reflector]:
        watched: tuple[tuple[str, str, Cache, str], ...] = (
            (paths.BATCH, "jobs", self._stores.jobs, LABEL_RUN_UID),
            (paths.CORE, "pods", self._stores.pods, LABEL_RUN_UID),
            (paths.OURS, paths.RECORDS, self._stores.records, ""),
        )
        return [
            Reflector(
                self._client,
                path=paths.everywhere(base, plural, namespace=namespace),
                cache=cache,
                selector=selector,
            )
            for namespace in self._settings.namespaces or ("",)
            for base, plural, cache, selector in watched
        ]

    def _unready(self) -> str:
        """What is missing until this process sees the cluster; empty when nothing is."""
        missing = [reflector.path for reflector in self._reflectors if not reflector.synced.is_set()]
        return f"not listed yet: {', '.join(missing)}" if missing else ""

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """The report server and the health endpoints."""
        authenticator = TokenReviewAuthenticator(api=self._client, pods=self._cluster, clock=self._clock)
        health = health_app(self._metrics, unready=self._unready)
        async with (
            _site(health, host=self._settings.health_host, port=self._settings.health_port),
            _site(
                report_app(desk=self._desk, authenticator=authenticator),
                host=self._settings.report_host,
                port=self._settings.report_port,
            ),
        ):
            yield

    def _reported(self, run: TrainingRun) -> None:
        self._metrics.reports.inc()
        self._queue.wake(run.metadata.key)

    async def _reconcile(self, key: Key) -> datetime | None:
        again = await self._reconciler.reconcile(key)
        self._metrics.depth.set(len(self._queue))
        self._metrics.runs.set(len(self._stores.runs))
        return again


@contextlib.asynccontextmanager
async def _site(app: web.Application, *, host: str, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
