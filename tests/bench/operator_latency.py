"""`python -m tests.bench.operator_latency`: how soon a run has its Job, what that costs, and how it grows.

A real control plane (rate limits as shipped) with kwok nodes, the operator as a process of its own, all on the same
cores. With 0, 1,000 and 5,000 runs there already (status as healed runs leave it, a tenth active and reporting):

- cold start: from exec to the Job of a run that was created in the same moment;
- open loop: batches of 100 runs at 10/s, from just before the POST to the ADDED event of the Job on a watch;
- flood: 900 runs at once, and one in another namespace behind them;
- CPU and API writes of the operator per run until its pod runs, memory, and CPU when nothing happens.

For comparison, in the same run: the floor, a process that answers each ADDED event of a run with one POST of its Job.
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

from tests.bench.cluster_load import JobWatch, Load, admin
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
SPACES = ("bench", "other", "filled", "active")


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


def process_cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


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
            await self.quiet(operator)
            idle = await self.cpu_share(operator)
            with self.reporters(operator, active=existing // 10):
                await asyncio.sleep(10 if existing else 0)
                busy = await self.cpu_share(operator)
                latencies, cpu, writes = await self.batches(operator, background=busy / 100)
            memory = rss_mib(operator.pid)
        return Stage(
            existing=existing, cold_start=cold, latencies=latencies, cpu_ms=1000 * cpu, writes=writes,
            rss_mib=memory, idle_percent=idle, active_percent=busy,
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

    async def cpu_share(self, operator: Operator) -> float:
        """Percent of a core that the operator takes while nothing is created."""
        seconds = QUICK_IDLE_SECONDS if self.quick else IDLE_SECONDS
        before = process_cpu(operator.pid)
        await asyncio.sleep(seconds)
        return 100 * (process_cpu(operator.pid) - before) / seconds

    async def batches(self, operator: Operator, *, background: float) -> tuple[list[float], float, float]:
        """Latencies of runs at a steady pace; CPU seconds and writes for each of them until its pod runs."""
        latencies: list[float] = []
        cpu = writes = 0.0
        for _ in range(QUICK_BATCHES if self.quick else BATCHES):
            names = self.names(BATCH)
            begun, cpu_before, writes_before = time.monotonic(), process_cpu(operator.pid), own_writes(operator)
            asked = await self.load.open_loop("bench", names, per_second=PER_SECOND)
            missing = await self.watch.wait_for(names, seconds=60)
            assert not missing, operator.told[-4000:]
            latencies += [self.watch.appeared[name] - moment for name, moment in asked.items()]
            await self.running(len(names))
            cpu += process_cpu(operator.pid) - cpu_before - background * (time.monotonic() - begun)
            writes += own_writes(operator) - writes_before
        return latencies, cpu / len(latencies), writes / len(latencies)

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

    async def floor(self) -> tuple[list[float], float]:
        """What the API server alone takes: latencies at the same pace, and Jobs per second of the same flood."""
        plane = json.dumps(asdict(self.plane), default=str)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.floor", plane, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline(), "the floor's process has not started"
        try:
            names = self.names(BATCH)
            asked = await self.load.open_loop("bench", names, per_second=PER_SECOND)
            assert not await self.watch.wait_for(names, seconds=60), "the floor has lost a run"
            latencies = [self.watch.appeared[name] - moment for name, moment in asked.items()]
            names = self.names(QUICK_FLOOD if self.quick else FLOOD)
            begun = time.monotonic()
            await asyncio.gather(*(self.load.create("bench", name) for name in names))
            assert not await self.watch.wait_for(names, seconds=SETTLE_SECONDS), "the floor has lost a run"
            rate = len(names) / (max(self.watch.appeared[name] for name in names) - begun)
        finally:
            await process.communicate(b"")
        return latencies, rate

    async def clear(self) -> None:
        """Remove what was measured: the next stage has so many runs as it says."""
        for namespace in ("bench", "other"):
            await self.load.request("DELETE", f"/apis/trainmaster.io/v1alpha1/namespaces/{namespace}/trainingruns")
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
    floor: tuple[list[float], float]
    """Latencies; Jobs per second."""


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
                floor = await bench.floor()
                await bench.clear()
        return Measured(stages=stages, flood=flood, floor=floor)


def _brief(stage: Stage) -> str:
    p50, p95 = percentile(stage.latencies, 0.5), percentile(stage.latencies, 0.95)
    return f"p50 {1000 * p50:.0f} ms, p95 {1000 * p95:.0f} ms, {stage.cpu_ms:.1f} ms CPU, {stage.rss_mib:.0f} MiB"


def targets(measured: Measured, *, quick: bool) -> list[Target]:
    """The figures and their goals."""
    size = QUICK_FLOOD if quick else FLOOD
    flood, (floor, floor_rate) = measured.flood, measured.floor
    floor_p50, floor_p95 = (1000 * percentile(floor, share) for share in (0.5, 0.95))
    found = [
        Target(name="floor: create to Job p50", unit="ms", goal=None, value=floor_p50, n=len(floor)),
        Target(name="floor: create to Job p95", unit="ms", goal=None, value=floor_p95, n=len(floor)),
        Target(name="floor: flood", unit="Jobs/s", goal=None, value=floor_rate, n=size, better="higher"),
        Target(name="flood", unit="Jobs/s", goal=60, value=flood[0], n=size, better="higher", enough=FLOOD),
        Target(name="behind the flood, another namespace", unit="s", goal=0.5, value=flood[1], n=1, enough=1 + quick),
    ]
    memory = {1000: 130.0, 5000: 220.0}
    for stage in measured.stages:
        there, n = f"{stage.existing:,} there", len(stage.latencies)
        p50, p95 = (1000 * percentile(stage.latencies, share) for share in (0.5, 0.95))
        found += [
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
