"""The Lease: one replica acts; an outage costs nobody the lead, another's name in the Lease does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from tests.support.virtual_time import run_virtually
from trainmaster.adapters.kubernetes.client import ApiClient, ApiError
from trainmaster.adapters.kubernetes.lease import (
    DEADLINE_SECONDS,
    DURATION_SECONDS,
    RETRY_SECONDS,
    LeaderElector,
    LostLeadershipError,
)
from trainmaster.api.objects import Key

Json = dict[str, Any]
LEASE = Key("ours", "trainmaster")


class Server(ApiClient):
    """One Lease, and a network that can be cut."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.away = False
        self.writes: list[str] = []

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        assert (path.endswith("/leases/trainmaster"), params) == (True, None)
        self._answer()
        if self.lease is None:
            raise ApiError(status=404, reason="NotFound", message="no Lease")
        return {"metadata": dict(self.lease["metadata"]), "spec": dict(self.lease["spec"])}

    async def post(self, path: str, body: Json) -> Json:
        assert path.endswith("/leases")
        self._answer()
        return self._store(body)

    async def put(self, path: str, body: Json) -> Json:
        assert path.endswith("/leases/trainmaster")
        self._answer()
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(status=409, reason="Conflict", message="changed")
        return self._store(body)

    def _answer(self) -> None:
        if self.away:
            raise ApiError(status=0, reason="Unreachable", message="the API server does not answer")

    def _store(self, body: Json) -> Json:
        self.writes.append(body["spec"]["holderIdentity"])
        version = str(len(self.writes))
        self.lease = body | {"metadata": body["metadata"] | {"resourceVersion": version}}
        return self.lease

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


def elector(server: Server, name: str) -> LeaderElector:
    return LeaderElector(server, lease=LEASE, identity=name, monotonic=lambda: asyncio.get_running_loop().time())


def tell(story: Callable[[Server], Awaitable[None]]) -> Server:
    async def main() -> Server:
        server = Server()
        await story(server)
        return server

    return run_virtually(main())


async def holding(one: LeaderElector) -> asyncio.Task[None]:
    await one.acquire()
    return asyncio.create_task(one.hold())


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_one_leads_and_the_other_waits_until_it_is_gone() -> None:
    async def story(server: Server) -> None:
        one, two = elector(server, "one"), elector(server, "two")
        held = await holding(one)
        waiting = asyncio.create_task(two.acquire())
        await asyncio.sleep(100)
        assert (one.leading, two.leading, server.holder) == (True, False, "one")
        await end(held)
        await asyncio.sleep(DEADLINE_SECONDS + 0.1)
        assert (one.leading, two.leading) == (False, False), "one has stopped before the other begins"
        await asyncio.sleep(DURATION_SECONDS)
        assert (two.leading, server.holder, waiting.done()) == (True, "two", True)
        with pytest.raises(LostLeadershipError, match="nothing is written"):
            one.check()

    tell(story)


def test_who_leaves_gives_the_lease_back() -> None:
    async def story(server: Server) -> None:
        one, two = elector(server, "one"), elector(server, "two")
        await one.acquire()
        await one.release()
        assert (server.holder, one.leading) == ("", False)
        await asyncio.wait_for(two.acquire(), 1)

    tell(story)


def test_an_outage_ends_no_holder_but_keeps_it_from_acting() -> None:
    async def story(server: Server) -> None:
        one = elector(server, "one")
        held = await holding(one)
        server.away = True
        await asyncio.sleep(DEADLINE_SECONDS + 1)
        assert (one.leading, held.done()) == (False, False)
        await asyncio.sleep(600)
        server.away = False
        await asyncio.sleep(3)
        assert (one.leading, held.done()) == (True, False)
        await end(held)

    tell(story)


@pytest.mark.parametrize("released", [False, True])
def test_a_holder_that_finds_another_has_led_ends_and_takes_nothing_back(*, released: bool) -> None:
    async def story(server: Server) -> None:
        one, two = elector(server, "one"), elector(server, "two")
        held = await holding(one)
        server.away = True
        await asyncio.sleep(DURATION_SECONDS)
        server.away = False
        assert server.lease is not None
        server.lease["spec"]["holderIdentity"] = "two"
        server.lease["metadata"]["resourceVersion"] = "taken"
        if released:
            await two.acquire()
            await two.release()
        written = len(server.writes)
        with pytest.raises(LostLeadershipError, match="another replica leads"):
            await held
        assert (one.leading, len(server.writes)) == (False, written)

    tell(story)


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("https://10.0.0.7:8443", "https://10.0.0.7:8443"),
        ("https://10.0.0.7:8443/v1/reports?x=y#z", "https://10.0.0.7:8443"),
        ("http://[fd00::7]:8443", "http://[fd00::7]:8443"),
        ("", None),
        ("10.0.0.7:8443", None),
        ("ftp://10.0.0.7", None),
        ("https://", None),
        ("https://me:secret@10.0.0.7", None),
        ("https://[fd00", None),
        ("https://10.0.0.7\r\nX: y", None),
    ],
)
def test_launchers_are_sent_to_a_plain_address_or_nowhere(told: str, url: str | None) -> None:
    async def story(server: Server) -> None:
        leader = LeaderElector(server, lease=LEASE, identity="one", report_url=told, monotonic=lambda: 0.0)
        await leader.acquire()
        other = elector(server, "two")
        waiting = asyncio.create_task(other.acquire())
        await asyncio.sleep(1)
        assert other.leader_url == url
        await end(waiting)
        await leader.release()
        third = elector(server, "three")
        await third.acquire()
        assert third.leader_url is None, "who has let go is asked no more"

    tell(story)


# -- what is said where there is no Lease to be had ---------------------------------------------------------------


class NoNamespace(Server):
    """The namespace of the Lease is not there, until it is made."""

    made = False

    async def post(self, path: str, body: Json) -> Json:
        if not self.made:
            raise ApiError(status=404, reason="NotFound", message='namespaces "ours" not found')
        return await super().post(path, body)


def test_a_namespace_that_does_not_exist_is_said_once_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = NoNamespace()
        one = elector(server, "one")
        assert one.missing == "the Lease ours/trainmaster was not asked for yet"
        waiting = asyncio.create_task(one.acquire())
        await asyncio.sleep(20)
        assert "namespace ours does not exist" in one.missing
        assert [record.levelname for record in caplog.records if "does not exist" in record.message] == ["WARNING"]
        server.made = True
        await asyncio.wait_for(waiting, 5)
        assert (one.leading, one.missing) == (True, "")

    caplog.set_level("INFO")
    run_virtually(main())


class Forbidding(Server):
    """Refuses all that is asked of the Lease, when it is told to."""

    forbids = False

    def _answer(self) -> None:
        if self.forbids:
            raise ApiError(status=403, reason="Forbidden", message="403 leases are forbidden")
        super()._answer()


def test_a_holder_that_may_not_renew_acts_no_more_and_says_so_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Forbidding()
        one = elector(server, "one")
        held = await holding(one)
        server.forbids = True
        await asyncio.sleep(RETRY_SECONDS + 1)
        assert (one.leading, one.missing) == (True, ""), "one refusal is none yet"
        await asyncio.sleep(600)
        assert (one.leading, held.done()) == (False, False), "nobody else holds it: it may be had again"
        assert "403 leases are forbidden" in one.missing
        assert "nothing is written" in one.missing
        said = [message for message in caplog.messages if message.startswith("the Lease ours/trainmaster: 403")]
        assert 9 <= len(said) <= 11, said
        assert "selftest --cluster" in said[0]
        assert said[1].endswith("times before)")
        server.forbids = False
        await asyncio.sleep(3)
        assert (one.leading, one.missing) == (True, "")
        await end(held)

    run_virtually(main())


def test_an_api_server_that_is_away_makes_nobody_unready() -> None:
    async def story(server: Server) -> None:
        one = elector(server, "one")
        held = await holding(one)
        server.away = True
        await asyncio.sleep(60)
        assert (one.leading, one.missing) == (False, "")
        await end(held)

    tell(story)


def test_who_waits_says_once_who_leads_and_misses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def story(server: Server) -> None:
        one, two = elector(server, "one"), elector(server, "two")
        held = await holding(one)
        waiting = asyncio.create_task(two.acquire())
        await asyncio.sleep(100)
        assert two.missing == ""
        assert [message for message in caplog.messages if "waiting" in message] == ["waiting: one leads"]
        await end(waiting)
        await end(held)

    caplog.set_level("INFO")
    tell(story)
