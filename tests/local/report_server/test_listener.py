"""The report server of a cluster over real TLS connections: every answer, its limits, and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.report_keeper import Keeper, Replica
from tests.support.runs import UID, run_of, status_of
from trainmaster.adapters.certificates import Material, self_signed
from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.adapters.tls import ServerTls
from trainmaster.api.protocol import MAX_REPORT_BYTES
from trainmaster.shell import report_listener, report_server
from trainmaster.shell.rate_limit import Rate
from trainmaster.shell.report_desk import ReportDesk
from trainmaster.shell.report_listener import ConnectionLimits, ReportServer
from trainmaster.shell.report_server import ReportHandler, ReportRates

PATIENCE_SECONDS = 30
REPORT: dict[str, Any] = {"protocol": 1, "runUid": UID, "launch": 1, "generation": 1, "phase": "training", "step": 3}
ONE = Rate(per_second=0.1, burst=1)


@pytest.fixture(scope="module")
def made() -> Material:
    return self_signed(["localhost"], now=datetime.now(UTC))


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: dict[str, Any]


class Connection:
    """A client's connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def post(self, body: object = REPORT, *, token: str = "pod-1", **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_head(len(data), token=token, **headers)
        self.writer.write(data)
        return await self.answer()

    def send_head(
        self, length: int, *, token: str = "pod-1", line: str = "POST /v1/reports HTTP/1.1", **headers: str
    ) -> None:
        fields = {"Host": "localhost", "Authorization": f"Bearer {token}", "Content-Length": str(length)}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.writer.write("\r\n".join([line, *(f"{n}: {v}" for n, v in fields.items()), "", ""]).encode())

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.strip().split("\r\n")
            headers = dict(field.split(": ", 1) for field in fields)
            body = await self._reader.readexactly(int(headers.get("Content-Length", "0")))
            return Answer(status=int(line.split()[1]), headers=headers, body=json.loads(body or "{}"))

    async def closed(self) -> bool:
        """Waits for the server to close; whether it said nothing more."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self._reader.read() == b""
            except ConnectionError:
                return True


class Bench:
    """A report server on the loopback."""

    def __init__(self, folder: Path, made: Material) -> None:
        self.keeper = Keeper()
        self.replica = Replica()
        self.series = MemorySeriesStore()
        self.rates = ReportRates()
        self.limits = ConnectionLimits()
        self.answered: list[int] = []
        self.turned_away: list[bool] = []
        self._made = made
        self._folder = folder
        self._client = ssl.create_default_context(cadata=made.ca_cert.decode())
        self.server: ReportServer
        self.handler: ReportHandler
        self._port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        (self._folder / "tls.crt").write_bytes(self._made.leaf_cert)
        (self._folder / "tls.key").write_bytes(self._made.leaf_key)
        tls = ServerTls(certificate=self._folder / "tls.crt", key=self._folder / "tls.key")
        run = run_of(status=status_of())
        desk = ReportDesk(
            series=self.series,
            clock=self.keeper,
            find_run=lambda uid: run if uid == UID else None,
            localise=lambda plan: plan,
            on_report=lambda _run: None,
        )
        self.handler = ReportHandler(
            desk=desk,
            authenticator=self.keeper,
            leadership=self.replica,
            rates=self.rates,
            on_answer=lambda status, _seconds: self.answered.append(status),
        )
        self.server = ReportServer(
            self.handler, tls=tls.context, limits=self.limits, on_turned_away=lambda: self.turned_away.append(True)
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
            await self.server.start(listener)
            try:
                yield
            finally:
                await self.server.stop()

    async def connect(self) -> Connection:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._client, server_hostname="localhost"
        )
        return Connection(reader, writer)

    async def plain(self) -> Connection:
        """A connection that never speaks TLS."""
        return Connection(*await asyncio.open_connection("127.0.0.1", self._port))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():  # noqa: ASYNC110 - what is waited for is the server's own, and has no event
                await asyncio.sleep(0.005)


@pytest.fixture
def bench(tmp_path: Path, made: Material) -> Bench:
    return Bench(tmp_path, made)


def story(bench: Bench, tell: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with bench.running():
            await tell()

    asyncio.run(run())


def test_a_connection_is_kept_for_many_reports(bench: Bench) -> None:
    async def tell() -> None:
        connection = await bench.connect()
        answers = [await connection.post(REPORT | {"step": step}) for step in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        assert answers[-1].body["plan"]["runUid"] == UID
        assert bench.server.connections == 1
        assert bench.answered == [200] * 3

    story(bench, tell)


def test_a_largest_report_is_taken_and_a_larger_one_is_not_even_read(bench: Bench) -> None:
    async def tell() -> None:
        padded = json.dumps(REPORT).encode().ljust(MAX_REPORT_BYTES)
        assert (await (await bench.connect()).post(padded)).status == 200
        connection = await bench.connect()
        connection.send_head(MAX_REPORT_BYTES + 1)
        answer = await connection.answer()
        assert (answer.status, str(MAX_REPORT_BYTES) in answer.body["message"]) == (413, True)

    story(bench, tell)


def test_a_body_of_unknown_length_is_bounded_too(bench: Bench) -> None:
    async def tell() -> None:
        connection = await bench.connect()
        connection.writer.write(
            b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer pod-1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(MAX_REPORT_BYTES // 0x8000 + 1):
            connection.writer.write(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        assert (await connection.answer()).status == 413

    story(bench, tell)


def test_a_compressed_body_is_refused_unread(bench: Bench) -> None:
    async def tell() -> None:
        answer = await (await bench.connect()).post(b"\x1f\x8b", Content_Encoding="gzip")
        assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "identity")

    story(bench, tell)


@pytest.mark.parametrize(
    ("line", "status"), [("POST /v1/else HTTP/1.1", 404), ("GET /v1/reports HTTP/1.1", 405), ("nonsense", 400)]
)
def test_what_is_no_report_is_told_so(bench: Bench, line: str, status: int) -> None:
    async def tell() -> None:
        connection = await bench.connect()
        connection.send_head(0, line=line)
        head = await connection._reader.readline()
        assert head.split()[1] == str(status).encode()

    story(bench, tell)


def test_a_token_that_cannot_be_reviewed_is_503_and_one_that_proves_nothing_401(bench: Bench) -> None:
    async def tell() -> None:
        connection = await bench.connect()
        away = await connection.post(token="away")
        assert (away.status, away.headers["Retry-After"]) == (503, "7")
        assert (await connection.post(token="stranger")).status == 401

    story(bench, tell)


def test_a_replica_that_does_not_lead_names_the_leader_and_asks_for_no_token(bench: Bench) -> None:
    async def tell() -> None:
        connection = await bench.connect()
        bench.replica.leading, bench.replica.leader_url = False, "https://10.0.0.7:8443"
        answer = await connection.post(token="stranger")
        assert (answer.status, answer.headers["Location"]) == (421, "https://10.0.0.7:8443/v1/reports")
        bench.replica.leader_url = None
        answer = await connection.post()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        bench.replica.leading = True
        assert (await connection.post()).status == 200

    story(bench, tell)


def test_a_pod_that_reports_too_often_is_slowed_down_and_others_are_not(bench: Bench) -> None:
    bench.rates = ReportRates(pod=ONE)

    async def tell() -> None:
        connection = await bench.connect()
        assert (await connection.post(token="pod-1")).status == 200
        again = await connection.post(token="pod-1")
        assert (again.status, int(again.headers["Retry-After"])) == (429, 10)
        assert (await connection.post(token="pod-2")).status == 200

    story(bench, tell)


def test_who_hastes_waits_for_the_refusal_and_nobody_else_does(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.rates = ReportRates(pod=ONE)
    monkeypatch.setattr(report_server, "HOLD_SECONDS", 3600)
    monkeypatch.setattr(report_listener, "DRAIN_SECONDS", 0.1)

    async def tell() -> None:
        hasty, patient = await bench.connect(), await bench.connect()
        assert (await hasty.post(token="pod-1")).status == 200
        refusal = asyncio.create_task(hasty.post(token="pod-1"))
        await bench.until(lambda: len(bench.handler.busy) == 1)
        assert (await patient.post(token="pod-2")).status == 200
        assert (refusal.done(), len(bench.handler.busy)) == (False, 1)
        refusal.cancel()

    story(bench, tell)


def test_a_namespace_has_its_share(bench: Bench) -> None:
    bench.rates = ReportRates(namespace=ONE)

    async def tell() -> None:
        connection = await bench.connect()
        assert (await connection.post(token="pod-1")).status == 200
        other = await connection.post(token="pod-2")
        assert (other.status, "namespace default" in other.body["message"]) == (429, True)

    story(bench, tell)


def test_guessing_tokens_is_slowed_down_by_address(bench: Bench) -> None:
    bench.rates = ReportRates(bad_tokens=ONE)

    async def tell() -> None:
        connection = await bench.connect()
        assert [(await connection.post(token="guess")).status for _ in range(3)] == [401, 429, 429]

    story(bench, tell)


def test_a_connection_over_the_limit_is_closed_and_a_free_place_is_used(bench: Bench) -> None:
    bench.limits = ConnectionLimits(total=8, per_address=1)

    async def tell() -> None:
        first = await bench.connect()
        assert (await first.post()).status == 200
        assert await (await bench.connect()).closed()
        assert len(bench.turned_away) == 1
        assert (await first.post()).status == 200
        first.writer.close()
        await bench.until(lambda: bench.server.connections == 0)
        assert (await (await bench.connect()).post()).status == 200

    story(bench, tell)


def test_a_header_that_trickles_in_is_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_listener, "IDLE_SECONDS", 0.3)

    async def tell() -> None:
        silent, slow, used = await bench.connect(), await bench.connect(), await bench.connect()
        slow.writer.write(b"POST /v1/reports HTTP/1.1\r\nHost: ")
        assert (await used.post()).status == 200
        assert [await each.closed() for each in (silent, slow, used)] == [True] * 3

    story(bench, tell)


def test_a_body_that_trickles_in_is_408(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_server, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(report_listener, "LINGER_SECONDS", 0.1)

    async def tell() -> None:
        connection = await bench.connect()
        connection.send_head(100)
        connection.writer.write(b"{")
        answer = await connection.answer()
        assert (answer.status, answer.headers["Connection"]) == (408, "close")
        assert await connection.closed()

    story(bench, tell)


def test_a_client_that_never_speaks_tls_is_closed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_listener, "HANDSHAKE_SECONDS", 0.2)

    async def tell() -> None:
        assert await (await bench.plain()).closed()

    story(bench, tell)


@pytest.mark.parametrize("sent", [b"", b'{"protocol": 1'])
def test_a_client_that_goes_away_leaves_nothing_behind(
    bench: Bench, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell() -> None:
        connection = await bench.connect()
        connection.send_head(100)
        connection.writer.write(sent)
        await bench.until(lambda: len(bench.handler.busy) == 1)
        connection.writer.transport.abort()
        await bench.until(lambda: bench.server.connections == 0 and not bench.handler.busy)
        assert (await (await bench.connect()).post()).status == 200

    story(bench, tell)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_end_answers_what_is_in_hand_and_closes_the_rest(bench: Bench) -> None:
    async def tell() -> None:
        idle, busy = await bench.connect(), await bench.connect()
        assert (await idle.post()).status == 200
        bench.keeper.gate = asyncio.Event()
        body = json.dumps(REPORT).encode()
        busy.send_head(len(body))
        await bench.until(lambda: len(bench.handler.busy) == 1)
        stopping = asyncio.create_task(bench.server.stop())
        assert await idle.closed()
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await bench.connect()
        # The body comes only now: what has begun is waited for.
        busy.writer.write(body)
        bench.keeper.gate.set()
        answer = await busy.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        await stopping

    story(bench, tell)


def test_the_end_waits_for_nobody_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(report_listener, "DRAIN_SECONDS", 0.1)

    async def tell() -> None:
        connection = await bench.connect()
        connection.send_head(100)
        await bench.until(lambda: len(bench.handler.busy) == 1)
        await bench.server.stop()
        assert bench.server.connections == 0

    story(bench, tell)
    assert "1 requests are cut off" in caplog.text
