"""One operator process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from trainmaster import __version__
from trainmaster.adapters.admin_file import AdminFile
from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import ApiClient
from trainmaster.adapters.kubernetes.cluster import KubernetesCluster
from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.adapters.kubernetes.events import EventRecorder
from trainmaster.adapters.kubernetes.lease import LeaderElector
from trainmaster.adapters.kubernetes.manifest import LaunchSettings
from trainmaster.adapters.kubernetes.namespaces import NamespaceWatch
from trainmaster.adapters.kubernetes.reflector import Cache, Reflector
from trainmaster.adapters.kubernetes.store import Stores, UnreadableRunError, new_stores
from trainmaster.adapters.kubernetes.tls_secret import TlsSecret
from trainmaster.adapters.kubernetes.token_review import TokenReviewAuthenticator
from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.adapters.system_clock import SystemClock
from trainmaster.adapters.tls import ReportTls, ServerTls
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.labels import LABEL_RUN_UID
from trainmaster.api.objects import Key
from trainmaster.shell.garbage import settle_heap
from trainmaster.shell.operator.health import health_app
from trainmaster.shell.operator.metrics import Metrics
from trainmaster.shell.operator.run_watch import RunWatch
from trainmaster.shell.operator.settings import OperatorSettings
from trainmaster.shell.reconcile import Reconciler
from trainmaster.shell.report_desk import ReportDesk
from trainmaster.shell.report_listener import ReportServer
from trainmaster.shell.report_server import REPORT_PATH, ReportHandler
from trainmaster.shell.report_wakeups import ReportWakeups
from trainmaster.shell.work_queue import WorkQueue

logger = logging.getLogger(__name__)

RESYNC_SECONDS: Final = 300
"""A living run is looked at this often though nothing woke it: watches that miss something list again by themselves,
and 5,000 runs looked at twice a minute would be a sixth of a core."""
KEEP_SECONDS: Final = 300
"""How long the series of an ended run is kept: a launcher that repeats its last report is answered from it, and a
megabyte for each run that ever trained would fill the process."""
PASSES: Final = 4
"""Passes over a run in one turn: a new launch takes three (decide, act, see); more is another turn's."""
FLUSH_SECONDS: Final = 2
"""How long a graceful end waits for Events that were recorded."""
RELEASE_SECONDS: Final = 2
"""How long it waits for the Lease to be given back: one that is not expires a few seconds later."""


class CannotListenError(TrainmasterError):
    """An address that was to be served at is not ours to have."""


class OperatorProcess:
    """All parts of an operator, wired."""

    def __init__(self, settings: OperatorSettings, *, load: Callable[[], Connection]) -> None:
        self._settings = settings
        self._load = load
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._queue = WorkQueue(clock=self._clock, reconcile=self._reconcile, observer=self._metrics)
        self._stores: Stores = new_stores(self._queue.wake, gone=self._forget)
        self._elector: LeaderElector | None = None
        self._tls: ReportTls | None = None
        self._namespaces: NamespaceWatch | None = None
        self._admin = AdminFile(settings.admin_file)
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
            settings=LaunchSettings(
                image=settings.image,
                report_url=settings.report_url,
                ca_file=settings.ca_file,
                trusted=self._trusted,
                admin=lambda: self._admin.current,
            ),
            recorder=self._recorder,
        )
        self._series = MemorySeriesStore()
        self._wakeups = ReportWakeups(clock=self._clock, wake=self._queue.wake)
        self._desk = ReportDesk(
            series=self._series,
            clock=self._clock,
            find_run=self._cluster.find,
            localise=self._cluster.localise,
            on_report=self._wakeups.urgent,
            on_quiet_report=self._wakeups.quiet,
            is_gone=self._stores.runs.is_gone,
        )
        self._reconciler = Reconciler(
            cluster=self._cluster, clock=self._clock, series=self._desk, resync_seconds=RESYNC_SECONDS
        )
        self._reflectors = self._watches()
        self._run_watch = RunWatch(self._stores.runs, client=self._client, load=load, namespaces=settings.namespaces)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then end gracefully.

        Raises:
            TrainmasterError: Alone or in an ExceptionGroup: the Lease is lost, a part has died that the process is no
                use without, or an address cannot be listened at.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # The Lease has a client of its own: a flood of other requests must not make it late. The Secret is written by
        # whoever comes first, leading or not, which the other client would not let through.
        async with self._client, ApiClient(self._load) as own_client:
            self._elector = self._new_elector(own_client)
            self._tls = self._new_tls(own_client)
            self._namespaces = NamespaceWatch(own_client, self._settings.namespaces)
            self._say_what_begins()
            async with self._serving():
                await self._until(stop)
            logger.info("ended")

    def _say_what_begins(self) -> None:
        settings = self._settings
        logger.info(
            "trainmaster %s begins as %s at %s: serves %s; trainer image %s; reports to %s; health at http://%s:%d",
            __version__,
            settings.identity,
            self._client.server,
            ", ".join(settings.namespaces) or "all namespaces",
            settings.image,
            settings.report_url,
            settings.health_host,
            settings.health_port,
        )

    async def _until(self, stop: asyncio.Event) -> None:
        """Run all parts until one fails or the end is asked for."""
        watches: list[Coroutine[object, object, None]] = [
            *(reflector.run() for reflector in self._reflectors),
            self._run_watch.run(),
            self._recorder.run(),
            self._admin.watch(),
        ]
        watches += [part.watch() for part in (self._tls, self._namespaces) if part is not None]
        work = asyncio.create_task(self._lead())
        tasks = [work, *(asyncio.create_task(part) for part in watches)]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
            logger.info("ending")
            await _cancel(work)
            await self._take_leave()
        finally:
            await _cancel(stopping, *tasks)

    async def _take_leave(self) -> None:
        """Say what was recorded, and let another replica lead; neither is waited for long, nor needed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._recorder.flush()
        if self._elector is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self._elector.release()

    async def _lead(self) -> None:
        """Work as long as this replica leads."""
        for synced in (self._run_watch.listed, *(reflector.synced for reflector in self._reflectors)):
            await synced.wait()
        if self._tls is not None:
            # A Job made before would know no authority to trust.
            await self._tls.ready.wait()
        if self._elector is None:
            await self._work()
            return
        await self._elector.acquire()
        logger.info("%s leads", self._settings.identity)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._elector.hold())
            group.create_task(self._work())

    async def _work(self) -> None:
        settle_heap()
        self._metrics.leading.set_function(lambda: float(self._elector is None or self._elector.leading))
        await self._queue.run(workers=self._settings.workers)

    def _new_elector(self, client: ApiClient) -> LeaderElector | None:
        if not self._settings.elect:
            return None
        return LeaderElector(
            client,
            lease=Key(self._own_namespace(), self._settings.lease_name),
            identity=self._settings.identity,
            report_url=self._settings.replica_url or self._settings.report_url.removesuffix(REPORT_PATH),
        )

    def _new_tls(self, client: ApiClient) -> ReportTls | None:
        """The report server's certificates; None where it speaks plain http."""
        settings = self._settings
        if settings.tls_secret:
            name = urlsplit(settings.report_url).hostname or ""
            secret = Key(self._own_namespace(), settings.tls_secret)
            return TlsSecret(client=client, secret=secret, names=frozenset({name}), clock=self._clock)
        if settings.certificate is None or settings.key is None:
            return None
        return ServerTls(certificate=settings.certificate, key=settings.key, authorities=settings.authorities)

    def _own_namespace(self) -> str:
        """The namespace of the Lease and of the Secret."""
        return self._settings.lease_namespace or self._load().namespace

    def _trusted(self) -> str:
        """The authorities that launchers shall trust, PEM; empty where their image knows."""
        return self._tls.trusted if self._tls is not None else ""

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
        """What is missing until this process sees the cluster and may act, or wait its turn; empty: nothing is."""
        missing = [self._tls.missing if self._tls is not None else "", self._run_watch.missing]
        missing += [reflector.missing for reflector in self._reflectors]
        missing.append(self._elector.missing if self._elector is not None else "")
        return "\n".join(filter(None, missing))

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """The report server and the health endpoints."""
        settings = self._settings
        handler = ReportHandler(
            desk=self._desk,
            authenticator=TokenReviewAuthenticator(api=self._client, pods=self._cluster, clock=self._clock),
            leadership=self._elector,
            on_answer=self._metrics.report_answered,
            trusted=self._trusted,
        )
        server = ReportServer(
            handler,
            tls=self._tls.context if self._tls is not None else None,
            on_turned_away=self._metrics.turned_away.inc,
        )
        namespaces = self._namespaces
        warnings: Callable[[], Sequence[str]] = tuple if namespaces is None else lambda: namespaces.warnings
        health = health_app(self._metrics, unready=self._unready, warnings=warnings)
        async with _site(health, _listen(settings.health_host, settings.health_port, flag="--health-bind")):
            await server.start(_listen(settings.report_host, settings.report_port, flag="--report-bind"))
            try:
                yield
            finally:
                await server.stop()

    def _forget(self, uid: str) -> None:
        """Let go of all that is kept of a run that is gone."""
        self._series.forget(uid)
        self._desk.forget(uid)
        self._wakeups.forget(uid)

    def _let_go(self, key: Key, again: datetime | None) -> datetime | None:
        """Forget what was reported of a run that has ended a while ago; the next moment at which it must be seen to."""
        try:
            run = self._stores.runs.get(key)
        except UnreadableRunError:
            return again
        if run is None or run.status.completion_time is None:
            return again
        due = run.status.completion_time + timedelta(seconds=KEEP_SECONDS)
        if due > self._clock.now():
            return due if again is None else min(again, due)
        self._forget(run.metadata.uid)
        return again

    async def _reconcile(self, key: Key) -> datetime | None:
        # A run that goes on at once does so here: behind a flood it would begin, and then wait for all the others.
        for _ in range(PASSES):
            again = await self._reconciler.reconcile(key)
            if again is None or again > self._clock.now():
                break
        again = self._let_go(key, again)
        self._metrics.depth.set(len(self._queue))
        self._metrics.runs.set(len(self._stores.runs))
        return again


async def _cancel(*tasks: asyncio.Task[object]) -> None:
    """End tasks and wait for them, whatever became of them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _listen(host: str, port: int, *, flag: str) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        # Not strerror: the standard library writes the address into it once more.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        message = f"cannot listen at {host}:{port}: {why}; name another address with {flag}"
        raise CannotListenError(message) from error


@contextlib.asynccontextmanager
async def _site(app: web.Application, at: socket.socket) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, at).start()
        yield
    finally:
        await runner.cleanup()
