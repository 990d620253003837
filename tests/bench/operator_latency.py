"""`python -m tests.bench.operator_latency`: how soon a run has its Job, what that costs, and how it grows.

A real control plane (rate limits as shipped) with kwok nodes, the operator as a process of its own, all on the same
cores. With 0, 1,000 and 5,000 runs there already (status as healed runs leave it, a tenth active and reporting):

- cold start: from exec to the Job of a run that was created in the same moment;
- open loop: batches of 100 runs at 10/s, from just before the POST to the ADDED event of the Job on a watch;
- flood: 900 runs at once, and one in another namespace behind them;
- CPU and API writes of the operator per run until its pod runs, memory, and CPU when nothing happens.

For comparison, in the same run and beside the same load: the floor, a process that answers each ADDED event of a
RunRecord with one POST of a Job.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from tests.bench.cluster_load import RECORDS, RUNS, JobWatch, Load, admin
from tests.bench.harness import ROOT, Options, Target, percentile, publish, read_options
from tests.support.control_plane import ControlPlane, start_control_plane
from tests.support.control_plane.programs import SHIPPED_LIMITS
from tests.support.operator_process import Operator, running_operator

STAGES = (0, 1000, 5000)
QUICK_STAGES = (0, 200)
BATCH = 100
BATCHES = 3
QUICK_BATCHES = 1
PER_SECOND = 10.0
FLOOR_BATCH = 100
FLOOD = 900
QUICK_FLOOD = 150
NODES = 4
"""Fake ones, for 5,000 pods each."""
IDLE_SECONDS = 20
QUICK_IDLE_SECONDS = 5
SETTLE_SECONDS = 600
ENOUGH = 200
"""Runs below which a 95th percentile says little."""
CRDS = ROOT / "crds"
SPACES = ("bench", "other", "filled", "active", "floor")
SILENCE_SECONDS = 50
"""A launch that has never reported is told of after 45 s (core/run/hearing.py): that is not idle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What was measured with so many runs there."""

    existing: int
    cold_start: float
    latencies: list[float]
    cpu_ms: float
    writes: float
    rss_mib: float
    idle_percent: float
    active_percent: float
    plane_percent: float
    """Of a core, taken by API server, etcd and their like while runs were created."""
    floor: list[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What was used up to a moment, or since an earlier one."""

    seconds: float
    cpu: float
    writes: float
    plane_cpu: float

    def since(self, before: Spent) -> Spent:
        """The difference."""
        return Spent(
            seconds=self.seconds - before.seconds,
            cpu=self.cpu - before.cpu,
            writes=self.writes - before.writes,
            plane_cpu=self.plane_cpu - before.plane_cpu,
        )

    def beyond(self, background: Spent) -> Spent:
        """What is left when a steady load, of which this is a sample, is taken off."""
        times = self.seconds / background.seconds
        return Spent(
            seconds=self.seconds,
            cpu=self.cpu - times * background.cpu,
            writes=self.writes - times * background.writes,
            plane_cpu=self.plane_cpu - times * background.plane_cpu,
        )

    @property
    def percent(self) -> float:
        """Of a core, by the operator."""
        return 100 * self.cpu / self.seconds


def process_cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def plane_cpu(plane: ControlPlane) -> float:
    """CPU seconds of all processes of a control plane so far: each is told of its folder."""
    told, total = str(plane.folder).encode(), 0.0
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if told in line.read_bytes():
                total += process_cpu(int(line.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since it was listed
    return total


def own_writes(operator: Operator) -> float:
    """Requests that changed something, Events and the Lease apart."""
    lines = operator.get("/metrics")[1].splitlines()
    sent = [line for line in lines if line.startswith("rest_client_requests_total{") and 'method="GET"' not in line]
    return sum(float(line.rpartition(" ")[2]) for line in sent) - operator.metric("trainmaster_events_total")


class Bench:
    """One measured control plane."""

    def __init__(self, *, plane: ControlPlane, load: Load, watch: JobWatch, options: Options, folder: Path) -> None:
        self.plane = plane
        self.load = load
        self.watch = watch
        self.folder = folder
        self.quick = options.quick
        self._dice = random.Random(options.seed)
        self._number = 0

    def names(self, count: int) -> list[str]:
        """Names that were not used before, in no order of the alphabet."""
        self._number += count
        return [f"r{self._dice.randrange(16**6):06x}-{self._number - n}" for n in range(count)]

    async def stage(self, existing: int, *, before: int) -> Stage:
        """Fill up to so many runs, and measure a new operator process among them."""
        more = existing - before
        await self.load.fill("filled", self.names(more - more // 10), active=False)
        active = self.names(more // 10)
        await self.load.fill("active", active, active=True)
        async with self.operator() as (operator, cold):
            missing = await self.watch.wait_for(active, seconds=SETTLE_SECONDS)
            assert not missing, f"{len(missing)} active runs have no Job; {operator.told[-2000:]}"
            await asyncio.sleep(SILENCE_SECONDS if active else 0)
            await self.quiet(operator)
            idle = await self.sample(operator)
            with self.reporters(operator, active=len(active) + before // 10):
                await asyncio.sleep(10 if existing else 0)
                busy = await self.sample(operator)
                latencies, spent = await self.batches(operator)
                floor = await self.beside(FLOOR_BATCH)
            memory = rss_mib(operator.pid)
        own, count = spent.beyond(busy), len(latencies)
        return Stage(
            existing=existing, cold_start=cold, latencies=latencies, cpu_ms=1000 * own.cpu / count,
            writes=own.writes / count, rss_mib=memory, idle_percent=idle.percent, active_percent=busy.percent,
            plane_percent=100 * spent.plane_cpu / spent.seconds, floor=floor,
        )  # fmt: skip

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[tuple[Operator, float]]:
        """A new operator process, and how long a run that was created meanwhile waited for its Job."""
        kubeconfig, name = self.plane.kubeconfig, self.names(1)[0]
        with running_operator(kubeconfig, "--log-level", "warning", folder=self.folder, elect=False) as operator:
            begun = time.monotonic()
            await self.load.create("bench", name)
            missing = await self.watch.wait_for([name], seconds=SETTLE_SECONDS)
            assert not missing, operator.told[-4000:]
            yield operator, self.watch.appeared[name] - begun

    async def quiet(self, operator: Operator) -> None:
        """Return when the operator does nothing any more."""
        while True:
            before = process_cpu(operator.pid)
            await asyncio.sleep(1)
            if process_cpu(operator.pid) - before < 0.05:  # a twentieth of a core: no backlog is worked off
                return

    def spent(self, operator: Operator) -> Spent:
        """Up to now."""
        return Spent(
            seconds=time.monotonic(),
            cpu=process_cpu(operator.pid),
            writes=own_writes(operator),
            plane_cpu=plane_cpu(self.plane),
        )

    async def sample(self, operator: Operator) -> Spent:
        """What is used while nothing is created."""
        before = self.spent(operator)
        await asyncio.sleep(QUICK_IDLE_SECONDS if self.quick else IDLE_SECONDS)
        return self.spent(operator).since(before)

    async def batches(self, operator: Operator) -> tuple[list[float], Spent]:
        """Latencies of runs at a steady pace, and what was used until the pods of all of them ran."""
        latencies: list[float] = []
        before = self.spent(operator)
        for _ in range(QUICK_BATCHES if self.quick else BATCHES):
            names = self.names(BATCH)
            asked = await self.load.open_loop("bench", names, per_second=PER_SECOND)
            missing = await self.watch.wait_for(names, seconds=60)
            assert not missing, operator.told[-4000:]
            latencies += [self.watch.appeared[name] - moment for name, moment in asked.items()]
            await self.running(len(names))
        return latencies, self.spent(operator).since(before)

    async def running(self, count: int) -> None:
        """Return when the newest runs say that they run: their pods do, and the operator knows."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            runs = (await self.load.request("GET", "/apis/trainmaster.io/v1alpha1/namespaces/bench/trainingruns"))[
                "items"
            ]
            newest = sorted(runs, key=lambda run: int(run["metadata"]["resourceVersion"]))[-count:]
            if all((run.get("status") or {}).get("phase") == "Running" for run in runs) or not newest:
                return
            await asyncio.sleep(0.5)
        raise AssertionError("not all runs came to run within 60 s")

    @contextmanager
    def reporters(self, operator: Operator, *, active: int) -> Iterator[None]:
        """The launchers of the active runs."""
        if not active:
            yield
            return
        plane = json.dumps(asdict(self.plane), default=str)
        command = [sys.executable, "-m", "tests.bench.reporters", plane, "active", operator.report_url]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield
            finally:
                told = process.communicate("")[0].splitlines()
                outcome = json.loads(told[-1])
                assert outcome["sent"], f"no report was taken: {outcome}"
                assert not outcome["refused"], f"reports were refused: {outcome}"

    async def flood(self) -> tuple[float, float]:
        """Jobs per second of a flood; seconds until a run of another namespace behind it has its Job."""
        names, last = self.names(QUICK_FLOOD if self.quick else FLOOD), self.names(1)[0]
        async with self.operator() as (operator, _):
            await self.quiet(operator)
            begun = time.monotonic()
            # As fast as the server takes them; the queue is full when the last one comes.
            asked = [asyncio.create_task(self.load.create("bench", name)) for name in names]
            await asyncio.gather(*asked)
            behind = await self.load.create("other", last)
            missing = await self.watch.wait_for([*names, last], seconds=SETTLE_SECONDS)
            assert not missing, operator.told[-4000:]
            ended = max(self.watch.appeared[name] for name in names)
            return len(names) / (ended - begun), self.watch.appeared[last] - behind

    async def beside(self, count: int) -> list[float]:
        """Latencies of the floor at the same pace, beside whatever goes on."""
        async with self.floor():
            return await self._paced_floor(count)

    async def bare_floor(self) -> float:
        """Jobs per second of the same flood by the floor, with nothing beside it."""
        async with self.floor():
            names = self.names(QUICK_FLOOD if self.quick else FLOOD)
            begun = time.monotonic()
            await asyncio.gather(*(self.load.create_record("floor", name) for name in names))
            assert not await self.watch.wait_for(names, seconds=SETTLE_SECONDS), "the floor has lost a record"
            return len(names) / (max(self.watch.appeared[name] for name in names) - begun)

    async def _paced_floor(self, count: int) -> list[float]:
        names = self.names(count)
        asked = await self.load.open_loop("floor", names, per_second=PER_SECOND, records=True)
        assert not await self.watch.wait_for(names, seconds=60), "the floor has lost a record"
        return [self.watch.appeared[name] - moment for name, moment in asked.items()]

    @asynccontextmanager
    async def floor(self) -> AsyncIterator[None]:
        """The floor's process."""
        plane = json.dumps(asdict(self.plane), default=str)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.floor", plane, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline(), "the floor's process has not started"
        try:
            yield
        finally:
            await process.communicate(b"")

    async def clear(self) -> None:
        """Remove what was measured: the next stage has so many runs as it says."""
        await self.load.request("DELETE", RECORDS.format("floor"))
        for namespace in ("bench", "other", "floor"):
            await self.load.request("DELETE", RUNS.format(namespace))
            await self.load.request(
                "DELETE", f"/apis/batch/v1/namespaces/{namespace}/jobs?propagationPolicy=Background"
            )
        await asyncio.sleep(5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """All that one run of the benchmark has measured."""

    stages: list[Stage]
    flood: tuple[float, float]
    """Jobs per second; seconds until a run of another namespace behind it has its Job."""
    floor_flood: float
    """Jobs per second."""


async def measure(options: Options, plane: ControlPlane, folder: Path) -> Measured:
    """All stages, the flood, and the floor."""
    async with admin(plane) as load, load.jobs() as watch:
        bench = Bench(plane=plane, load=load, watch=watch, options=options, folder=folder)
        stages, before, told = [], 0, Console(stderr=True, highlight=False)
        for existing in QUICK_STAGES if options.quick else STAGES:
            stages.append(await bench.stage(existing, before=before))
            told.print(f"{existing} there: {_brief(stages[-1])}")
            before = existing
            await bench.clear()
            if not existing:
                flood = await bench.flood()
                await bench.clear()
                floor = await bench.bare_floor()
                await bench.clear()
        return Measured(stages=stages, flood=flood, floor_flood=floor)


def _brief(stage: Stage) -> str:
    p50, p95 = percentile(stage.latencies, 0.5), percentile(stage.latencies, 0.95)
    return f"p50 {1000 * p50:.0f} ms, p95 {1000 * p95:.0f} ms, {stage.cpu_ms:.1f} ms CPU, {stage.rss_mib:.0f} MiB"


def targets(measured: Measured, *, quick: bool) -> list[Target]:
    """The figures and their goals."""
    size = QUICK_FLOOD if quick else FLOOD
    flood = measured.flood
    found = [
        Target(name="floor: flood", unit="Jobs/s", goal=None, value=measured.floor_flood, n=size, better="higher"),
        Target(name="flood", unit="Jobs/s", goal=60, value=flood[0], n=size, better="higher", enough=FLOOD),
        Target(name="behind the flood, another namespace", unit="s", goal=0.5, value=flood[1], n=1, enough=1 + quick),
    ]
    memory = {1000: 130.0, 5000: 220.0}
    for stage in measured.stages:
        there, n = f"{stage.existing:,} there", len(stage.latencies)
        p50, p95 = (1000 * percentile(stage.latencies, share) for share in (0.5, 0.95))
        floor50, floor95 = (1000 * percentile(stage.floor, share) for share in (0.5, 0.95))
        found += [
            Target(name=f"floor: create to Job p50, {there}", unit="ms", goal=None, value=floor50, n=len(stage.floor)),
            Target(name=f"floor: create to Job p95, {there}", unit="ms", goal=None, value=floor95, n=len(stage.floor)),
            Target(name=f"create to Job p50, {there}", unit="ms", goal=None, value=p50, n=n),
            Target(name=f"create to Job p95, {there}", unit="ms", goal=40, value=p95, n=n, enough=ENOUGH),
            Target(name=f"CPU per run, {there}", unit="ms", goal=15, value=stage.cpu_ms, n=n, enough=ENOUGH),
            Target(name=f"own writes per run, {there}", unit="writes", goal=5, value=stage.writes, n=n, enough=ENOUGH),
            Target(name=f"RSS, {there}", unit="MiB", goal=memory.get(stage.existing), value=stage.rss_mib, n=1),
            Target(
                name=f"cold start to the Job of a new run, {there}", unit="s", value=stage.cold_start, n=1,
                goal=4.0 if stage.existing == STAGES[-1] else None,
            ),
            Target(
                name=f"idle CPU, {there}", unit="% of a core", goal=1.0, value=stage.idle_percent, n=1,
                enough=1 + quick,
            ),
            Target(
                name=f"CPU with {stage.existing // 10} reporting, {there}", unit="% of a core", goal=None,
                value=stage.active_percent, n=1,
            ),
            Target(
                name=f"CPU of the control plane while runs come, {there}", unit="% of a core", goal=None,
                value=stage.plane_percent, n=1,
            ),
        ]  # fmt: skip
    return found


def main() -> None:
    """Measure and publish."""
    options = read_options(__doc__ or "")
    os.environ[SHIPPED_LIMITS] = "1"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trainmaster-bench-")))
        plane = stack.enter_context(start_control_plane())
        plane.kubectl("apply", "--server-side", "-f", str(CRDS))
        plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))
        for number in range(NODES):
            plane.add_node(f"node-{number}")
        for namespace in SPACES:
            plane.kubectl("create", "namespace", namespace)
            plane.add_claim(namespace, "checkpoints")
        measured = asyncio.run(measure(options, plane, folder))
    publish("operator_latency", options=options, targets=targets(measured, quick=options.quick))


if __name__ == "__main__":
    main()
