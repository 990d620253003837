"""The server process of the benchmark of reports: an operator's report path with its loop, or aiohttp alone.

Run by `tests.bench.reports`, which talks to it in JSON lines: one on stdout when it listens, then one figure line for
each line on stdin; the end of stdin ends it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import socket
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import uvloop
from aiohttp import web

from tests.bench.report_words import NAMESPACES, RUNS, report_of, run_uid
from trainmaster.adapters.kubernetes.token_review import POD_NAME, POD_UID, TokenReviewAuthenticator
from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.adapters.system_clock import SystemClock
from trainmaster.adapters.tls import ServerTls
from trainmaster.api.conditions import DecisionKind, DecisionState
from trainmaster.api.labels import REPORT_AUDIENCE, job_name
from trainmaster.api.objects import Key, ObjectMeta
from trainmaster.api.plan import Plan
from trainmaster.api.protocol import MAX_REPORT_BYTES, Reply, Report
from trainmaster.api.trainingrun import Decision, PlannedDirective, TrainingRun, TrainingRunSpec, TrainingRunStatus
from trainmaster.core.plan import build_plan, first_plan
from trainmaster.core.snapshot import CreateJob, DeleteJob, Event, ObservedJob
from trainmaster.ports.cluster import ConflictError, Observation
from trainmaster.ports.identity import LaunchIdentity
from trainmaster.shell.garbage import settle_heap
from trainmaster.shell.reconcile import Reconciler
from trainmaster.shell.report_desk import ReportDesk
from trainmaster.shell.report_listener import ConnectionLimits, ReportServer
from trainmaster.shell.report_server import REPORT_PATH, ReportHandler
from trainmaster.shell.report_wakeups import ReportWakeups
from trainmaster.shell.work_queue import WorkQueue

JSON = "application/json"
WORKERS = 8
"""As the operator has."""
POINTS_BEFORE = 200
"""Training points that each run has told before the measurement."""
DECISIONS = 15
"""Decisions and corrections in each status: it has 6 KiB, as a healed run's."""
REVIEW_SECONDS = 0.005
"""What a TokenReview takes on a quiet API server."""
ALL_FROM_HERE = ConnectionLimits(total=8000, per_address=8000)
"""All clients of the benchmark share one address."""


class Stub:
    """A cluster in memory, with the JSON and the validation of a status write; runs are found as a cache finds them."""

    def __init__(self, clock: SystemClock, *, runs: int = RUNS) -> None:
        self.runs = {run_uid(number): _run(number, clock.now()) for number in range(runs)}
        self._uids = {run.metadata.key: uid for uid, run in self.runs.items()}
        self._jobs = {uid: _job(run) for uid, run in self.runs.items()}
        self.writes = 0

    async def observe(self, key: Key, *, live: bool) -> Observation | None:
        uid = self._uids[key]
        return Observation(run=self.runs[uid], jobs=(self._jobs[uid],), live=live)

    async def write_status(self, run: TrainingRun, status: TrainingRunStatus) -> TrainingRun:
        uid = run.metadata.uid
        if self.runs[uid].metadata.resource_version != run.metadata.resource_version:
            raise ConflictError("changed meanwhile")
        self.writes += 1
        # What a real one costs here: the object to JSON, the answer back, and once more as the watch brings it.
        for _ in range(2):
            wire = orjson.loads(orjson.dumps(run.model_copy(update={"status": status}).to_wire()))
            stored = TrainingRun.model_validate(wire)
        meta = stored.metadata.model_copy(update={"resource_version": str(self.writes)})
        self.runs[uid] = stored.model_copy(update={"metadata": meta})
        return self.runs[uid]

    async def create_job(self, run: TrainingRun, effect: CreateJob) -> None:
        raise AssertionError(run.metadata.key, effect.name)

    async def delete_job(self, run: TrainingRun, effect: DeleteJob) -> None:
        raise AssertionError(run.metadata.key, effect.name)

    async def write_record(self, run: TrainingRun, effect: object) -> None:
        raise AssertionError(run.metadata.key, effect)

    async def emit(self, run: TrainingRun, events: Sequence[Event]) -> None:
        """Events are for people."""

    def localise(self, plan: Plan) -> Plan:
        return plan

    async def post(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        """TokenReview: what the claims say, is so."""
        await asyncio.sleep(REVIEW_SECONDS)
        part = body["spec"]["token"].split(".")[1]
        bound = json.loads(base64.urlsafe_b64decode(part + "=="))["kubernetes.io"]
        extra = {POD_NAME: [bound["pod"]["name"]], POD_UID: [bound["pod"]["uid"]]}
        user = {"username": f"system:serviceaccount:{bound['namespace']}:trainer", "extra": extra}
        return {"status": {"authenticated": True, "audiences": [REPORT_AUDIENCE], "user": user}}

    async def launch_of_pod(self, *, namespace: str, name: str, uid: str) -> LaunchIdentity | None:
        assert name.startswith("pod-"), namespace
        return LaunchIdentity(run_uid=uid.removeprefix("pod-"), launch=1)


def _run(number: int, now: datetime) -> TrainingRun:
    spec = TrainingRunSpec.model_validate({"workload": "custom", "command": ["python", "train.py"]})
    meta = ObjectMeta(name=f"run-{number}", namespace=f"team-{number % NAMESPACES}", uid=run_uid(number))
    run = TrainingRun(metadata=meta, spec=spec)
    plan = first_plan(run, generation=1)
    decisions = tuple(_decision(n, now) for n in range(DECISIONS))
    directives = tuple(
        PlannedDirective(id=d.id, generation=1, at_step=1, set={"learning_rate": "5e-05"}, reason=d.reason)
        for d in decisions[:3]
    )
    status = TrainingRunStatus(
        observed_generation=1,
        launch=1,
        launch_time=now,
        running_time=now,
        start_time=now,
        plan=plan.model_copy(update={"directives": directives}),
        decisions=decisions,
    )
    return run.model_copy(update={"status": status})


def _decision(number: int, now: datetime) -> Decision:
    return Decision(
        id=f"adjust-1-{number}",
        kind=DecisionKind.ADJUST,
        reason="GradientExplosion",
        state=DecisionState.DONE,
        time=now,
        launch=1,
        observed_step=number,
        applied_step=number,
        evidence="gradient norm 512.3 at step 1203, above 200: the third in a row, after a quiet hour",
        target={"learning_rate": "5e-05", "gradient_clip_norm": "0.5"},
    )


def _job(run: TrainingRun) -> ObservedJob:
    name = job_name(run.metadata.name, uid=run.metadata.uid, launch=1)
    since = run.status.running_time
    uid = run.metadata.uid
    return ObservedJob(
        name=name, uid=f"job-{uid}", run_uid=uid, launch=1, state="Running", live_pods=1, running_since=since
    )


class Figures:
    """What the process counts of itself."""

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}
        self.reconciles = 0
        self.reconcile_seconds = 0.0
        self.bytes_of_status = 0

    def answered(self, status: int, _seconds: float) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1

    def line(self, writes: int) -> str:
        return json.dumps(
            {
                "cpu": time.process_time(),
                "accepted": self.answers.get(200, 0),
                "refused": sum(count for status, count in self.answers.items() if status != 200),
                "reconciles": self.reconciles,
                "reconcile_cpu": self.reconcile_seconds,
                "writes": writes,
                "status_bytes": self.bytes_of_status,
                "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )


async def operator(listener: socket.socket, tls: ServerTls, figures: Figures) -> None:
    """The report path as the operator has it, with its queue and its reconciler."""
    clock = SystemClock()
    cluster = Stub(clock)

    async def reconcile(key: Key) -> datetime | None:
        began = time.thread_time()
        again = await reconciler.reconcile(key)
        figures.reconciles += 1
        figures.reconcile_seconds += time.thread_time() - began
        return again

    queue = WorkQueue(clock=clock, reconcile=reconcile)
    desk = _desk(cluster, clock, wakeups=ReportWakeups(clock=clock, wake=queue.wake))
    reconciler = Reconciler(cluster=cluster, clock=clock, series=desk)
    figures.bytes_of_status = len(orjson.dumps(cluster.runs[run_uid(0)].status.to_wire()))
    _tell_earlier_points(desk)
    authenticator = TokenReviewAuthenticator(api=cluster, pods=cluster, clock=clock)
    handler = ReportHandler(desk=desk, authenticator=authenticator, on_answer=figures.answered)
    server = ReportServer(handler, tls=tls.context, limits=ALL_FROM_HERE)
    settle_heap()
    await server.start(listener)
    working = asyncio.create_task(queue.run(workers=WORKERS))
    await _obey(lambda: figures.line(cluster.writes))
    await server.stop()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def bare(listener: socket.socket, tls: ServerTls, figures: Figures) -> None:
    """aiohttp and pydantic, and nothing else: the same TLS, the same report read, a reply of the same size written."""
    cluster = Stub(SystemClock(), runs=1)
    plan = build_plan(run := cluster.runs[run_uid(0)], run.status)

    async def post(request: web.Request) -> web.Response:
        report = Report.model_validate_json(await request.read())
        reply = Reply(have_seq=report.last_seq, plan=plan)
        figures.answered(200, 0)
        return web.Response(body=reply.model_dump_json(by_alias=True, exclude_none=True), content_type=JSON)

    app = web.Application(client_max_size=MAX_REPORT_BYTES)
    app.router.add_post(REPORT_PATH, post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=tls.context, backlog=1024).start()
    await _obey(lambda: figures.line(0))
    await runner.cleanup()


def _desk(cluster: Stub, clock: SystemClock, *, wakeups: ReportWakeups) -> ReportDesk:
    return ReportDesk(
        series=MemorySeriesStore(),
        clock=clock,
        find_run=cluster.runs.get,
        localise=cluster.localise,
        on_report=wakeups.urgent,
        on_quiet_report=wakeups.quiet,
    )


def _tell_earlier_points(desk: ReportDesk) -> None:
    for number in range(RUNS):
        identity = LaunchIdentity(run_uid=run_uid(number), launch=1)
        desk.take(identity, Report.model_validate_json(report_of(number, count=POINTS_BEFORE)))


async def _obey(line: Callable[[], str]) -> None:
    """Print a line of figures for each line on stdin, until that ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    while await reader.readline():
        sys.stdout.write(line() + "\n")
        sys.stdout.flush()


def main() -> None:
    """`operator|bare LISTENER CERTIFICATE KEY`; LISTENER is the number of an open, bound socket."""
    mode, descriptor, certificate, key = sys.argv[1:]
    listener = socket.socket(fileno=int(descriptor))
    listener.settimeout(0)
    tls = ServerTls(certificate=Path(certificate), key=Path(key))
    served = operator if mode == "operator" else bare
    uvloop.run(served(listener, tls, Figures()))


if __name__ == "__main__":
    main()
