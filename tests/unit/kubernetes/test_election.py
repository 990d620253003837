"""Leader election: never two at once, whatever is late, lost or stopped; never nobody for long."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.kubernetes_objects import refusal
from tests.support.virtual_time import run_virtually
from trainmaster.adapters.kubernetes.client import ApiClient
from trainmaster.adapters.kubernetes.lease import (
    DEADLINE_SECONDS,
    DURATION_SECONDS,
    RETRY_SECONDS,
    LeaderElector,
    LostLeadershipError,
)
from trainmaster.api.objects import Key

Json = dict[str, Any]
LEASE = Key("system", "trainmaster")
TURN = 2 * RETRY_SECONDS
"""By then a replica that waits has looked again."""
STORY_SECONDS = 90
TICK = 0.25


@dataclass(frozen=True)
class Fate:
    """What becomes of one request."""

    before: float = 0
    """Seconds until the server gets it."""
    after: float = 0
    """Seconds until the answer comes back."""
    lost: bool = False
    """The answer is lost: the caller does not learn that it was done."""


class Server:
    """One Lease as an API server keeps it."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.versions = itertools.count(1)

    def get(self) -> Json:
        if self.lease is None:
            raise refusal(404, "NotFound")
        return self.lease

    def post(self, body: Json) -> Json:
        if self.lease is not None:
            raise refusal(409, "AlreadyExists")
        return self._store(body)

    def put(self, body: Json) -> Json:
        if self.get()["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise refusal(409, "Conflict")
        return self._store(body)

    def _store(self, body: Json) -> Json:
        meta = body["metadata"] | {"resourceVersion": str(next(self.versions))}
        self.lease = copy.deepcopy(body | {"metadata": meta})
        return self.lease


class Line:
    """A replica's way to the server, in place of an ApiClient."""

    def __init__(self, server: Server, fates: Iterable[Fate]) -> None:
        self.server = server
        self.fates = iter(fates)
        self.cut = False
        self.writes = 0

    async def get(self, path: str) -> Json:
        assert path == "/apis/coordination.k8s.io/v1/namespaces/system/leases/trainmaster"
        return await self._travel(self.server.get)

    async def post(self, path: str, body: Json) -> Json:
        assert path == "/apis/coordination.k8s.io/v1/namespaces/system/leases"
        self.writes += 1
        return await self._travel(lambda: self.server.post(body))

    async def put(self, _: str, body: Json) -> Json:
        self.writes += 1
        return await self._travel(lambda: self.server.put(body))

    async def _travel(self, work: Callable[[], Json]) -> Json:
        fate = next(self.fates, Fate())
        if self.cut:
            raise refusal(0, "Unreachable")
        # What is on its way arrives, though nobody may wait for it any more.
        done = await asyncio.shield(asyncio.ensure_future(_arrive(work, fate.before)))
        await asyncio.sleep(fate.after)
        if fate.lost:
            raise refusal(0, "Unreachable")
        if isinstance(done, Exception):
            raise done
        return copy.deepcopy(done)


async def _arrive(work: Callable[[], Json], seconds: float) -> Json | Exception:
    await asyncio.sleep(seconds)
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - handed to whoever still waits
        return error


class Replica:
    """A process that campaigns and holds; its clock has an offset and a rate of its own."""

    def __init__(self, server: Server, name: str, *, rate: float = 1.0, fates: Iterable[Fate] = ()) -> None:
        self.line = Line(server, fates)
        self.elector = LeaderElector(
            cast("ApiClient", self.line),
            lease=LEASE,
            identity=name,
            report_url=f"https://{name}",
            monotonic=lambda: asyncio.get_running_loop().time() * rate + len(name),
        )
        self.lost = False
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        await self.elector.acquire()
        try:
            await self.elector.hold()
        except LostLeadershipError:
            self.lost = True

    async def die(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


class Pair:
    """Two replicas; the one leads, the other has seen that."""

    def __init__(self, *, fates: Iterable[Fate] = (), others_fates: Iterable[Fate] = ()) -> None:
        self.server = Server()
        self.fates, self.others_fates = fates, others_fates

    async def meet(self) -> None:
        self.one = Replica(self.server, "one", fates=self.fates)
        await asyncio.sleep(TICK)
        self.two = Replica(self.server, "two", fates=self.others_fates)

    def leading(self) -> tuple[bool, bool]:
        return self.one.elector.leading, self.two.elector.leading

    def spec(self) -> Json:
        spec: Json = self.server.get()["spec"]
        return spec


def story(tell: Callable[[Pair], Awaitable[None]], pair: Pair | None = None) -> None:
    async def main() -> None:
        told = pair or Pair()
        await told.meet()
        await tell(told)

    run_virtually(main())


def test_the_first_leads_and_says_where_and_the_second_waits_and_knows_where() -> None:
    async def tell(pair: Pair) -> None:
        await asyncio.sleep(5 * DURATION_SECONDS)

        assert pair.leading() == (True, False)
        assert pair.two.elector.leader_url == "https://one"
        assert (pair.spec()["holderIdentity"], pair.two.line.writes) == ("one", 0)
        with pytest.raises(LostLeadershipError, match="two does not hold the Lease system/trainmaster"):
            pair.two.elector.check()

    story(tell)


def test_when_the_holder_dies_another_leads_after_the_leases_time_and_not_before() -> None:
    async def tell(pair: Pair) -> None:
        await asyncio.sleep(DURATION_SECONDS)
        await pair.one.die()
        await asyncio.sleep(DURATION_SECONDS - RETRY_SECONDS)
        before = pair.leading()
        await asyncio.sleep(RETRY_SECONDS + TURN)

        assert (before, pair.leading()) == ((False, False), (False, True))
        assert pair.spec()["leaseTransitions"] == 2

    story(tell)


def test_after_a_release_another_leads_at_once() -> None:
    async def tell(pair: Pair) -> None:
        await asyncio.sleep(DURATION_SECONDS)
        await pair.one.die()
        await pair.one.elector.release()
        before = pair.leading()
        await asyncio.sleep(TURN)

        assert (before, pair.leading()) == ((False, False), (False, True))

    story(tell)


def test_a_replica_that_does_not_lead_releases_nothing() -> None:
    async def tell(pair: Pair) -> None:
        await asyncio.sleep(TURN)
        await pair.two.elector.release()

        assert pair.spec()["holderIdentity"] == "one"
        assert pair.leading() == (True, False)

    story(tell)


def test_a_holder_that_cannot_renew_stops_before_another_begins_and_loses_when_it_meets_that_one() -> None:
    async def tell(pair: Pair) -> None:
        await asyncio.sleep(DURATION_SECONDS)
        pair.one.line.cut = True
        seen = []
        for _ in range(int((DURATION_SECONDS + TURN) / TICK)):
            await asyncio.sleep(TICK)
            seen.append(pair.leading())
        assert list(dict.fromkeys(seen)) == [(True, False), (False, False), (False, True)]
        pair.one.line.cut = False
        await asyncio.sleep(TURN)

        assert pair.one.lost
        assert pair.one.elector.leader_url == "https://two"

    story(tell)


def test_a_holder_that_was_stopped_finds_that_it_does_not_lead_before_it_does_anything() -> None:
    """SIGSTOP: nothing of the process runs, but its monotonic clock goes on."""

    async def tell(pair: Pair) -> None:
        pair.one.elector.check()
        await pair.one.die()
        await asyncio.sleep(DEADLINE_SECONDS)

        with pytest.raises(LostLeadershipError):
            pair.one.elector.check()

    story(tell)


def test_a_renewal_whose_answer_is_lost_does_not_lengthen_the_lead() -> None:
    async def tell(pair: Pair) -> None:
        await asyncio.sleep(DEADLINE_SECONDS)

        assert pair.spec()["holderIdentity"] == "one"
        assert pair.leading() == (False, False)

    story(tell, Pair(fates=[Fate(), Fate(), *[Fate(), Fate(lost=True)] * 20]))


def test_the_time_that_a_look_takes_is_not_counted_as_the_holders_silence() -> None:
    """The look below is sent long before a renewal and served just after it: what it shows is young."""

    async def tell(pair: Pair) -> None:
        await asyncio.sleep(4 * RETRY_SECONDS)
        pair.one.line.cut = True
        while pair.one.elector.leading:
            assert not pair.two.elector.leading
            await asyncio.sleep(TICK)
        await asyncio.sleep(DURATION_SECONDS)

        assert pair.leading() == (False, True)

    story(tell, Pair(others_fates=[Fate(before=4 * RETRY_SECONDS - TICK / 2)]))


SECONDS = st.sampled_from([0.0, 0.0, 0.1, 1.0, 4.0, 9.0, 30.0])
FATES = st.builds(Fate, before=SECONDS, after=SECONDS, lost=st.booleans())
LIVES = st.tuples(
    st.floats(0.81, 1.19), st.lists(FATES, max_size=12), st.sampled_from([0, 20, 45, STORY_SECONDS]), st.booleans()
)
"""Rate of the clock, fates of the first requests, moment of death (0: none), whether the Lease is released then."""


@settings(max_examples=60)
@given(lives=st.lists(LIVES, min_size=2, max_size=3))
def test_never_two_lead_at_once_and_in_the_end_one_of_the_living_does(
    lives: list[tuple[float, list[Fate], int, bool]],
) -> None:
    async def main() -> None:
        server = Server()
        replicas = [Replica(server, f"{n}", rate=rate, fates=fates) for n, (rate, fates, _, _) in enumerate(lives)]
        living = list(replicas)
        for tick in range(int(STORY_SECONDS / TICK)):
            for replica, (_, _, death, graceful) in zip(replicas, lives, strict=True):
                if replica in living and tick * TICK >= death > 0:
                    living.remove(replica)
                    await replica.die()
                    if graceful:
                        replica.task = asyncio.create_task(replica.elector.release())
            # The dead are asked too: one that is only stopped would act on its clock alone.
            leading = [replica for replica in replicas if replica.elector.leading]
            assert len(leading) <= 1, f"two lead after {tick * TICK} s"
            await asyncio.sleep(TICK)
        for replica in living:
            replica.line.fates = iter(())
        await asyncio.sleep(4 * DURATION_SECONDS)
        left = [replica for replica in living if not replica.lost]
        assert sum(replica.elector.leading for replica in left) == min(1, len(left))

    run_virtually(main())
