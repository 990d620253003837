"""`python -m tests.bench.report_flood`: what others notice while one pod sends as fast as one core can.

The operator's report path as in `tests.bench.reports`, and launchers that report every 5 s, as they do. For half a
minute one process floods it: first reports on many connections with one pod's token, then bare TLS handshakes, which
cost the server most and need no token at all.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.harness import Options, Target, percentile, publish, read_options
from tests.bench.report_load import Client
from tests.bench.report_words import RUNS, report_of
from tests.bench.reports import Served, _ending, _line, _python, _serving, _tell
from trainmaster.adapters.certificates import self_signed

SECONDS = 30
QUICK_SECONDS = 8
PATIENT = 400
"""Launchers that report at their pace: 80 reports a second."""
CONNECTIONS = 64
"""Of the flooder, each with a request or a handshake in flight."""
GOAL_MS = 250
ENOUGH = 1000
"""Answers below which a 99th percentile says little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flooded:
    """What came of one flood."""

    latencies: list[float]
    refused: int
    sent: int
    """Reports or handshakes of the flooder that were answered in whatever way."""
    cpu: float
    """Of the server, seconds."""
    flood_cpu: float


def flood(served: Served, mode: str, *, seconds: int, seed: int) -> Flooded:
    """Flood the server while others report to it."""
    port, ca = str(served._port), str(served._folder / "ca.crt")
    patient = ("tests.bench.report_load", port, ca, "0", str(PATIENT), "paced", str(seconds), str(seed))
    with ExitStack() as stack:
        others = stack.enter_context(_ending(_python(*patient)))
        flooder = stack.enter_context(_ending(_python("tests.bench.report_flood", mode, port, ca, str(seconds))))
        for process in (others, flooder):
            _line(process)
        before = served._figures()
        for process in (flooder, others):
            _tell(process, "go")
        told, mine = json.loads(_line(others)), json.loads(_line(flooder))
        after = served._figures()
    return Flooded(
        latencies=told["latencies"],
        refused=told["refused"],
        sent=mine["sent"],
        cpu=after["cpu"] - before["cpu"],
        flood_cpu=mine["cpu"],
    )


async def send(mode: str, *, port: int, ca: str, seconds: float) -> None:
    """The flooder's process: wait for the word, flood, tell."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=ca)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    before, end, sent = time.process_time(), time.perf_counter() + seconds, 0
    body = report_of(RUNS - 1, first=1, count=0)

    async def one() -> None:
        nonlocal sent
        client = Client(RUNS - 1)
        while time.perf_counter() < end:
            try:
                await loop.create_connection(
                    lambda: client, "127.0.0.1", port, ssl=context, server_hostname="localhost"
                )
                while mode == "reports" and time.perf_counter() < end:
                    await client._post(body)
                    sent += 1
                client.close()
                sent += mode != "reports"
            except OSError:
                await asyncio.sleep(0)

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    sys.stdout.write(json.dumps({"sent": sent, "cpu": time.process_time() - before}) + "\n")


def measure(options: Options) -> None:
    """Run both floods and publish."""
    seconds = QUICK_SECONDS if options.quick else SECONDS
    targets: list[Target] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="trainmaster-bench-") as name:
        folder = Path(name)
        made = self_signed(["localhost"], now=datetime.now(UTC))
        for file, pem in (("ca.crt", made.ca_cert), ("tls.crt", made.leaf_cert), ("tls.key", made.leaf_key)):
            (folder / file).write_bytes(pem)
        for mode in ("reports", "handshakes"):
            with _serving("operator", folder) as served:
                found = flood(served, mode, seconds=seconds, seed=options.seed)
            targets += [
                Target(
                    name=f"others' ack p{share * 100:g}, flood of {mode}",
                    unit="ms",
                    goal=GOAL_MS if share > 0.5 else None,
                    value=1000 * percentile(found.latencies, share),
                    n=len(found.latencies),
                    enough=ENOUGH,
                )
                for share in (0.5, 0.99)
            ]
            notes.append(
                f"{mode}: {found.sent / seconds:,.0f}/s of the flooder ({found.flood_cpu / seconds:.2f} cores), server "
                f"{found.cpu / seconds:.2f} cores; of others refused: {found.refused}"
            )
    publish("report flood", options=options, targets=targets, notes=notes)


if __name__ == "__main__":
    if sys.argv[1:2] in (["reports"], ["handshakes"]):
        asyncio.run(send(sys.argv[1], port=int(sys.argv[2]), ca=sys.argv[3], seconds=float(sys.argv[4])))
    else:
        measure(read_options("Reports: what others notice of one that floods."))
