"""`python -m tests.bench.reports`: what the report path costs, and how soon a launcher has its answer.

1,000 clients with kept-alive TLS connections in processes of their own; the server process has the operator's report
path (tokens, limits, desk, series), its work queue and its reconciler, over a cluster in memory that still does the
JSON and the validation of each status write. Paced: each client every 5 s, as launchers do. Saturated: each as soon as
it has its answer; there waiting is the number of clients over the throughput, whatever the server. For comparison
aiohttp and pydantic alone, saturated by the same clients.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.harness import ROOT, Options, Target, percentile, publish, read_options
from tests.bench.report_words import RUNS
from trainmaster.adapters.certificates import self_signed

CLIENT_PROCESSES = 2
PACED_SECONDS = 120
SATURATED_SECONDS = 30
QUICK_PACED_SECONDS = 20
QUICK_SATURATED_SECONDS = 8
ENOUGH_PACED = 10_000
"""Answers below which a 99th percentile says little: 100 beyond it."""
ENOUGH_SATURATED = 20_000
READY_SECONDS = 120
"""For a process to start, and for its clients to connect."""

Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """What one load did, and what it cost the server process."""

    latencies: list[float]
    refused: int
    cpu: float
    accepted: int
    reconciles: int
    reconcile_cpu: float
    writes: int
    rss_mib: float
    status_bytes: float
    client_cpu: float

    @property
    def per_core_second(self) -> float:
        """Accepted reports per CPU second of the whole process."""
        return self.accepted / self.cpu


class Served:
    """A server process and its clients."""

    def __init__(self, mode: str, folder: Path) -> None:
        self._folder = folder
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._port = listener.getsockname()[1]
        with listener:
            self._process = _python(
                "tests.bench.report_target",
                mode,
                str(listener.fileno()),
                str(folder / "tls.crt"),
                str(folder / "tls.key"),
                descriptors=(listener.fileno(),),
            )
        _line(self._process)

    def load(self, mode: str, *, seconds: int, seed: int) -> Phase:
        """Load it; what came of it."""
        share = RUNS // CLIENT_PROCESSES
        with ExitStack() as stack:
            processes = [
                stack.enter_context(
                    _ending(
                        _python(
                            "tests.bench.report_load",
                            str(self._port),
                            str(self._folder / "ca.crt"),
                            *(str(first), str(share), mode, str(seconds), str(seed + first)),
                        )
                    )
                )
                for first in range(0, RUNS, share)
            ]
            for process in processes:
                _line(process)
            before = self._figures()
            for process in processes:
                _tell(process, "go")
            results = [json.loads(_line(process)) for process in processes]
            return _phase(before, self._figures(), results)

    def _figures(self) -> Figures:
        _tell(self._process, "figures")
        figures: Figures = json.loads(_line(self._process))
        return figures

    def close(self) -> None:
        """End it."""
        _end(self._process)


def _phase(before: Figures, after: Figures, results: list[dict[str, Any]]) -> Phase:
    return Phase(
        latencies=[each for result in results for each in result["latencies"]],
        refused=sum(result["refused"] for result in results),
        cpu=after["cpu"] - before["cpu"],
        accepted=int(after["accepted"] - before["accepted"]),
        reconciles=int(after["reconciles"] - before["reconciles"]),
        reconcile_cpu=after["reconcile_cpu"] - before["reconcile_cpu"],
        writes=int(after["writes"] - before["writes"]),
        rss_mib=after["rss_mib"],
        status_bytes=after["status_bytes"],
        client_cpu=sum(result["cpu"] for result in results),
    )


def _python(module: str, *arguments: str, descriptors: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=descriptors,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        message = f"a process ended early, with {process.wait()}: {process.args!r}"
        raise RuntimeError(message)
    return line


def _tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()


@contextmanager
def _ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process: by the end of its stdin, or, when that does not help, by SIGKILL."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(READY_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _serving(mode: str, folder: Path) -> Iterator[Served]:
    served = Served(mode, folder)
    try:
        yield served
    finally:
        served.close()


def targets_of(paced: Phase, saturated: Phase, bare: Phase) -> list[Target]:
    """The figures that are published."""
    enough, many = ENOUGH_SATURATED, ENOUGH_PACED
    pace, full = paced.latencies, saturated.latencies
    return [
        Target(
            name="accepted per core-second, saturated, reconcile running",
            unit="reports",
            goal=2500,
            value=saturated.per_core_second,
            n=saturated.accepted,
            better="higher",
            enough=enough,
        ),
        Target(
            name="ack p99, 1,000 clients every 5 s",
            unit="ms",
            goal=50,
            value=1000 * percentile(pace, 0.99),
            n=len(pace),
            enough=many,
        ),
        _figure("ack p50, 1,000 clients every 5 s", "ms", 1000 * percentile(pace, 0.5), len(pace)),
        _figure("ack p50, saturated", "ms", 1000 * percentile(full, 0.5), len(full)),
        _figure("ack p99, saturated", "ms", 1000 * percentile(full, 0.99), len(full)),
        _figure("CPU per accepted report, paced, all included", "ms", 1000 / paced.per_core_second, paced.accepted),
        _figure(
            "CPU per reconcile, paced", "ms", 1000 * paced.reconcile_cpu / max(1, paced.reconciles), paced.reconciles
        ),
        _figure(
            "reconciles per core-second beside that, saturated",
            "",
            saturated.reconciles / saturated.cpu,
            saturated.reconciles,
        ),
        _figure("aiohttp + pydantic alone, per core-second", "reports", bare.per_core_second, bare.accepted),
        _figure("reports refused", "reports", paced.refused + saturated.refused, paced.accepted + saturated.accepted),
    ]


def _figure(name: str, unit: str, value: float, n: int) -> Target:
    return Target(name=name, unit=unit, goal=None, value=value, n=n)


def measure(options: Options) -> None:
    """Run all phases and publish."""
    paced_seconds = QUICK_PACED_SECONDS if options.quick else PACED_SECONDS
    full_seconds = QUICK_SATURATED_SECONDS if options.quick else SATURATED_SECONDS
    with tempfile.TemporaryDirectory(prefix="trainmaster-bench-") as name:
        folder = Path(name)
        made = self_signed(["localhost"], now=datetime.now(UTC))
        for file, pem in (("ca.crt", made.ca_cert), ("tls.crt", made.leaf_cert), ("tls.key", made.leaf_key)):
            (folder / file).write_bytes(pem)
        with _serving("bare", folder) as served:
            bare = served.load("saturating", seconds=full_seconds, seed=options.seed)
        with _serving("operator", folder) as served:
            paced = served.load("paced", seconds=paced_seconds, seed=options.seed)
            saturated = served.load("saturating", seconds=full_seconds, seed=options.seed)
    notes = [
        _note("paced", paced, paced_seconds),
        _note("saturated", saturated, full_seconds),
        _note("aiohttp + pydantic alone", bare, full_seconds),
    ]
    publish("reports", options=options, targets=targets_of(paced, saturated, bare), notes=notes)


def _note(name: str, phase: Phase, seconds: int) -> str:
    return (
        f"{name}: {phase.accepted / seconds:,.0f} reports/s over {seconds} s, {phase.cpu / seconds:.2f} cores; "
        f"{phase.reconciles / seconds:,.0f} reconciles/s ({phase.reconcile_cpu / seconds:.2f} cores), "
        f"{phase.writes / seconds:,.0f} status writes/s; peak RSS {phase.rss_mib:,.0f} MiB; "
        f"status {phase.status_bytes:,.0f} B; clients {phase.client_cpu / seconds:.2f} cores"
    )


if __name__ == "__main__":
    measure(read_options("Reports: throughput and latency of the report server."))
