"""Client processes of the benchmark of reports: kept-alive TLS connections that cost as little as can be.

`ready` on stdout when every connection has had its first answer; a line on stdin starts the load; then one line with
the result. A paced client sends at its own times whatever the answers do (an answer's time counts from when the report
was due); a saturating one sends as soon as it has its answer.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time

from tests.bench.report_words import POINTS, report_of, token_of

PACE_SECONDS = 5.0
JITTER = 0.2
"""As launchers have it."""
CONNECTS_AT_ONCE = 32
"""Handshakes in flight: they are no part of the measurement."""
LATEST_SECONDS = 20.0
"""For the answers that are still out at the end."""


class Client(asyncio.Protocol):
    """One launcher: one connection, one report at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._transport: asyncio.Transport | None = None
        self._head = (
            "POST /v1/reports HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token_of(number)}\r\nContent-Length: "
        ).encode()
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._have = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if not mark:
            return
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._received)
            self._received = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed by the server"))

    async def greet(self) -> None:
        """A first report without entries, which tells what the server has."""
        answer = await self._post(report_of(self.number, first=1, count=0))
        self._have = int(answer.partition(b'"haveSeq":')[2].partition(b",")[0])

    async def report(self) -> bool:
        """Send the next points; whether they were taken."""
        answer = await self._post(report_of(self.number, first=self._have + 1))
        if not answer.startswith(b"HTTP/1.1 200"):
            return False
        self._have += POINTS
        if b'"haveSeq":%d,' % self._have not in answer:
            message = f"run {self.number} sent up to {self._have}: {answer!r}"
            raise AssertionError(message)
        return True

    async def _post(self, body: bytes) -> bytes:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._head + b"%d\r\n\r\n" % len(body) + body)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Load:
    """A process's clients, and what they have seen."""

    def __init__(self, clients: list[Client], *, seconds: float, seed: int) -> None:
        self.latencies: list[float] = []
        self.refused = 0
        self._clients = clients
        self._seconds = seconds
        self._random = random.Random(seed)

    async def run(self, *, paced: bool) -> None:
        drive = self._paced if paced else self._saturating
        async with asyncio.timeout(self._seconds + LATEST_SECONDS), asyncio.TaskGroup() as group:
            end = time.perf_counter() + self._seconds
            for client in self._clients:
                group.create_task(drive(client, end))

    async def _paced(self, client: Client, end: float) -> None:
        due = time.perf_counter() + self._random.uniform(0, PACE_SECONDS)
        while due < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await self._one(client, due)
            due += PACE_SECONDS * self._random.uniform(1 - JITTER, 1 + JITTER)

    async def _saturating(self, client: Client, end: float) -> None:
        while (now := time.perf_counter()) < end:
            await self._one(client, now)

    async def _one(self, client: Client, due: float) -> None:
        if await client.report():
            self.latencies.append(time.perf_counter() - due)
        else:
            self.refused += 1
            await asyncio.sleep(1.0)


async def drive(*, port: int, ca: str, numbers: range, paced: bool, seconds: float, seed: int) -> None:
    """Connect, wait for the word, load, tell."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=ca)
    clients = [Client(number) for number in numbers]
    turn = asyncio.Semaphore(CONNECTS_AT_ONCE)

    async def begin(client: Client) -> None:
        async with turn:
            await loop.create_connection(lambda: client, "127.0.0.1", port, ssl=context, server_hostname="localhost")
            await client.greet()

    await asyncio.gather(*(begin(client) for client in clients))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    load = Load(clients, seconds=seconds, seed=seed)
    before = time.process_time()
    await load.run(paced=paced)
    for client in clients:
        client.close()
    result = {"latencies": load.latencies, "refused": load.refused, "cpu": time.process_time() - before}
    sys.stdout.write(json.dumps(result) + "\n")


def main() -> None:
    """`PORT CA FIRST COUNT paced|saturating SECONDS SEED`."""
    port, ca, first, count, mode, seconds, seed = sys.argv[1:]
    numbers = range(int(first), int(first) + int(count))
    asyncio.run(
        drive(port=int(port), ca=ca, numbers=numbers, paced=mode == "paced", seconds=float(seconds), seed=int(seed))
    )


if __name__ == "__main__":
    main()
