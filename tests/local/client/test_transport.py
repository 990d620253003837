"""The client's requests on a loopback server: what is repeated, what never is, what errors say."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubernetes_objects import run_json
from tests.support.loop_thread import LoopThread
from tests.support.scripted_server import Answer, ScriptedServer, refuses, resets, says, scripted_server, streams
from trainmaster.adapters.certificates import self_signed
from trainmaster.api.objects import Key
from trainmaster.client import RefusedError, UnreachableError, WaitTimeoutError, follow, transport, watching
from trainmaster.client.access import Access
from trainmaster.client.follow import Follower
from trainmaster.client.goals import parse_goal
from trainmaster.client.transport import Transport
from trainmaster.client.watching import RunWatch

PATH = "/api/v1/things"
THING = {"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(follow, "PAUSE_FIRST_SECONDS", 0.001)


@contextmanager
def talking(*script: Answer) -> Iterator[tuple[Transport, ScriptedServer]]:
    """A transport whose credentials are other ones each time they are read."""
    loop = LoopThread("scripted-server")
    opened = scripted_server(*script)
    server = loop.run(opened.__aenter__())
    tokens = iter(["old", "new", "newest"])
    try:
        yield Transport(lambda: Access(server=server.url, headers={"Authorization": next(tokens)})), server
    finally:
        loop.run(opened.__aexit__(None, None, None))
        loop.close()


def test_a_read_is_repeated_through_a_short_outage() -> None:
    with talking(resets, refuses(503), says(b"<html>"), says(THING)) as (client, server):
        assert client.get(PATH, {"limit": "5"}) == THING
        assert [asked.query for asked in server.asked] == [{"limit": "5"}] * 4


def test_a_write_is_sent_once_and_nobody_knows_what_became_of_it() -> None:
    with talking(resets, says(THING)) as (client, server):
        with pytest.raises(UnreachableError, match=r"POST .*/api/v1/things: the API server does not answer"):
            client.send("POST", PATH, THING)
        assert len(server.asked) == 1


def test_a_write_that_the_server_was_too_busy_to_begin_is_sent_again() -> None:
    with talking(refuses(429, Retry_After="0"), says(THING)) as (client, server):
        assert client.send("POST", PATH, THING) == THING
        assert len(server.asked) == 2


def test_fresh_credentials_are_read_when_the_old_ones_are_refused() -> None:
    with talking(refuses(401), says(THING)) as (client, server):
        assert client.get(PATH) == THING
        assert [asked.authorization for asked in server.asked] == ["old", "new"]


def test_a_refusal_carries_the_servers_words() -> None:
    with talking(refuses(403, "Forbidden")) as (client, _), pytest.raises(RefusedError) as caught:
        client.get(PATH)
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    assert str(caught.value) == "GET /api/v1/things: 403 because Forbidden"


def test_a_list_is_read_in_pages() -> None:
    first = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [THING]}
    last = {"metadata": {"resourceVersion": "7"}, "items": None}
    with talking(says(first), says(last)) as (client, server):
        assert client.read_all(PATH, {"labelSelector": "a=b"}) == ([THING], "7")
        assert [asked.query.get("continue") for asked in server.asked] == [None, "more"]
        assert all(asked.query["labelSelector"] == "a=b" for asked in server.asked)


LIST = {"metadata": {"resourceVersion": "7"}, "items": [THING]}
MOVED = (
    b'{"type": "MODIFIED", "object": {"metadata": {"name": "a", "uid": "u", "resourceVersion": "8"}}}\n'
    b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}\n'
)


def changes(follower: Follower, *, times: int) -> list[tuple[str, bool]]:
    found = [change for _ in range(times) for change in follower.changes(5.0)]
    return [(change.raw["metadata"]["resourceVersion"], change.gone) for change in found]


def test_a_watch_that_is_cut_in_the_middle_of_a_line_goes_on_from_where_it_was() -> None:
    half = MOVED + b'{"type": "MODIF'
    with talking(says(LIST), streams(half, then=None), streams(MOVED)) as (client, server):
        with Follower(client, PATH) as follower:
            assert changes(follower, times=3) == [("7", False), ("8", False)]
            assert changes(follower, times=2) == []
        assert [asked.query.get("resourceVersion") for asked in server.asked][:2] == [None, "7"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refuses(410, "Expired"), id="410"),
        pytest.param(streams(b'{"type": "ERROR", "object": {"code": 410}}\n'), id="410 in the stream"),
        pytest.param(streams(b"nonsense\n"), id="nonsense"),
    ],
)
def test_a_watch_that_cannot_go_on_leads_to_a_list_whose_difference_is_told(answer: Answer) -> None:
    other = {"metadata": {"name": "b", "uid": "v", "resourceVersion": "12"}}
    newer = {"metadata": {"resourceVersion": "12"}, "items": [other]}
    with talking(says(LIST), answer, says(newer)) as (client, _), Follower(client, PATH) as follower:
        assert changes(follower, times=3) == [("7", False), ("7", True), ("12", False)]


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    with talking(*[resets] * 4) as (client, _), Follower(client, PATH) as follower, pytest.raises(UnreachableError):
        follower.changes(5.0)


def test_a_server_that_is_away_for_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AWAY_SECONDS", 0.0)
    with talking(says(LIST), *[resets] * 9) as (client, _), Follower(client, PATH) as follower:
        assert changes(follower, times=1) == [("7", False)]
        with pytest.raises(UnreachableError):
            changes(follower, times=9)


def test_a_watch_that_is_dead_without_our_knowing_makes_no_wait_come_late() -> None:
    dead = streams(then=lambda: asyncio.sleep(60))
    with talking(runs_in("Pending"), dead, runs_in("Running")) as (client, server):
        with RunWatch(client, Key("default", "market")) as watch:
            run = watch.wait_for(parse_goal("running"), timeout=0.1, on_change=lambda _: None)
        assert run.status.phase == "Running", "the last look is a list, and tells what the watch has not"
        assert len(server.asked) == 3


def test_a_wait_that_is_too_long_looks_once_more_and_gives_up() -> None:
    dead = streams(then=lambda: asyncio.sleep(60))
    with (
        talking(runs_in("Pending"), dead, runs_in("Pending")) as (client, _),
        RunWatch(client, Key("default", "market")) as watch,
        pytest.raises(WaitTimeoutError) as caught,
    ):
        watch.wait_for(parse_goal("running"), timeout=0.1, on_change=lambda _: None)
    assert "was not running after 0.1 s; nothing was changed, wait again" in str(caught.value)
    assert caught.value.run.status.phase == "Pending"


def test_a_server_is_known_by_the_name_in_its_certificate(tmp_path: Path) -> None:
    made = self_signed(["api.internal"], now=datetime.now(UTC))
    pem = tmp_path / "server.pem"
    pem.write_bytes(made.leaf_cert + made.leaf_key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    trust = ssl.create_default_context(cadata=made.ca_cert.decode())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def tell() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as listening:
            url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            named = Transport(lambda: Access(server=url, tls=trust, server_name="api.internal"))
            assert await asyncio.to_thread(named.get, PATH) == {}
            unnamed = Transport(lambda: Access(server=url, tls=trust))
            with pytest.raises(UnreachableError, match="the right CA in the kubeconfig"):
                await asyncio.to_thread(unnamed.send, "POST", PATH, THING)

    asyncio.run(tell())


class Silence:
    """Addresses that swallow packets, after `answered` connections, and the time that goes by meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, answered: int = 0, addresses: int = 1) -> None:
        self.now = 0.0
        self.waited: list[float] = []
        self._answered = answered
        self._addresses = addresses
        self._connect, self._resolve = socket.create_connection, socket.getaddrinfo
        for module in (transport, follow, watching):
            monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(socket, "create_connection", self.connect)
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def resolve(self, host: str, port: int, **how: int) -> list[Any]:
        return self._resolve(host, port, **how)[:1] * self._addresses

    def connect(self, address: tuple[str, int], seconds: float, *_: object) -> socket.socket:
        self._answered -= 1
        if self._answered >= 0:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(socket, "getaddrinfo", self._resolve)
                return self._connect(address, 30.0)
        self.now += seconds
        self.waited.append(seconds)
        raise TimeoutError("timed out")


@pytest.mark.parametrize("addresses", [1, 3])
def test_a_read_ends_at_its_deadline_though_addresses_swallow_packets(
    monkeypatch: pytest.MonkeyPatch, addresses: int
) -> None:
    with talking() as (client, _):
        silence = Silence(monkeypatch, addresses=addresses)
        with pytest.raises(UnreachableError, match="does not answer: timed out"):
            client.get(PATH, deadline=5.0)
    assert len(silence.waited) == addresses
    assert silence.now == pytest.approx(5.0)


def test_all_addresses_together_have_the_time_of_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking() as (client, _):
        silence = Silence(monkeypatch, addresses=3)
        with pytest.raises(UnreachableError):
            client.send("POST", PATH, THING)
    assert silence.waited == [pytest.approx(transport.REQUEST_SECONDS / 3)] * 3


def test_a_wait_ends_soon_after_its_time_though_addresses_swallow_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(runs_in("Pending")) as (client, _):
        silence = Silence(monkeypatch, answered=1, addresses=2)
        with RunWatch(client, Key("default", "market")) as watch, pytest.raises(WaitTimeoutError):
            watch.wait_for(parse_goal("running"), timeout=5, on_change=lambda _: None)
    assert 5 <= silence.now <= 5 + 2 * transport.LEAST_SECONDS + 1


def test_a_wait_for_a_server_that_never_answered_ends_soon_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking() as (client, _):
        silence = Silence(monkeypatch)
        with RunWatch(client, Key("default", "market")) as watch, pytest.raises(UnreachableError):
            watch.wait_for(parse_goal("running"), timeout=5, on_change=lambda _: None)
        assert silence.now == pytest.approx(5.0)


def runs_in(phase: str) -> Answer:
    """A list of one run."""
    run = run_json(version={"Pending": 7, "Running": 8}[phase])
    return says({"metadata": {"resourceVersion": "9"}, "items": [run | {"status": status_in(phase)}]})


def status_in(phase: str) -> dict[str, object]:
    return {"phase": phase, "observedGeneration": 1}
