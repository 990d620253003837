"""Events: one object per thing to say, counted when it is said again, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from tests.support.kubernetes_objects import refusal
from tests.support.runs import UID, run_of
from tests.support.virtual_time import VirtualClock, run_virtually
from trainmaster.adapters.kubernetes import events
from trainmaster.adapters.kubernetes.client import ApiClient, ApiError
from trainmaster.adapters.kubernetes.events import MESSAGE_MAX, EventRecorder, event_name
from trainmaster.core.snapshot import Event

Json = dict[str, Any]
RUN = run_of()
CREATED = Event(type="Normal", reason="JobCreated", message="Job market-1 is created")
FAILED = Event(type="Warning", reason="Crashed", message="exit code 1")
NAME_MAX = 253


class Server:
    """Events as an API server keeps them; `refusals` are answered instead, one each."""

    def __init__(self) -> None:
        self.stored: dict[str, Json] = {}
        self.requests: list[str] = []
        self.refusals: list[ApiError] = []
        self.sent = 0
        self.recorder = self.restart()

    def restart(self) -> EventRecorder:
        """A new operator process that knows nothing."""
        self.recorder = EventRecorder(
            client=cast("ApiClient", self), clock=VirtualClock(), identity="pod-1", on_sent=self._count
        )
        return self.recorder

    async def tell(self, *told: Event) -> None:
        """Have these recorded and sent."""
        sending = asyncio.create_task(self.recorder.run())
        for event in told:
            self.recorder.record(RUN, event)
            await self.recorder.flush()
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending

    def counts(self) -> dict[str, int]:
        return {event["reason"]: event["count"] for event in self.stored.values()}

    def _count(self) -> None:
        self.sent += 1

    def _note(self, request: str) -> None:
        self.requests.append(request)
        if self.refusals:
            raise self.refusals.pop(0)

    async def post(self, path: str, body: Json) -> Json:
        self._note("POST")
        key = f"{path}/{body['metadata']['name']}"
        if key in self.stored:
            raise refusal(409, "AlreadyExists")
        self.stored[key] = body
        return body

    async def get(self, path: str) -> Json:
        self._note("GET")
        return self.stored[path]

    async def patch(self, path: str, body: Json) -> Json:
        self._note("PATCH")
        if path not in self.stored:
            raise refusal(404, "NotFound")
        self.stored[path] |= body
        return self.stored[path]


def story(tell: Callable[[Server], Awaitable[None]]) -> Server:
    async def main() -> Server:
        server = Server()
        await tell(server)
        return server

    return run_virtually(main())


# -- names --------------------------------------------------------------------------------------------------------


def test_a_name_is_what_is_said_about_which_run() -> None:
    others = [
        event_name(RUN, FAILED),
        event_name(run_of(meta={"uid": "another"}), CREATED),
        event_name(RUN, Event(type="Warning", reason=CREATED.reason, message=CREATED.message)),
        event_name(RUN, Event(type="Normal", reason="Other", message=CREATED.message)),
        event_name(RUN, Event(type="Normal", reason=CREATED.reason, message="other")),
    ]

    assert event_name(RUN, CREATED) == event_name(run_of(suspend=True), CREATED)
    assert len({event_name(RUN, CREATED), *others}) == 6


@pytest.mark.parametrize(
    "name", ["m", "x" * 63, "x" * 45 + "." + "y" * 10, "x" * 45 + "-.-" + "y" * 10, "x" * NAME_MAX]
)
def test_a_name_is_one_that_kubernetes_takes(name: str) -> None:
    told = event_name(run_of(meta={"name": name}), CREATED)

    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", told)
    assert len(told) <= NAME_MAX


# -- what is sent -------------------------------------------------------------------------------------------------


def test_an_event_is_about_its_run_and_says_when_and_from_whom() -> None:
    server = story(lambda server: server.tell(CREATED))

    ((path, event),) = server.stored.items()
    assert path.startswith("/api/v1/namespaces/default/events/market.")
    assert event["involvedObject"] == {
        "apiVersion": "trainmaster.io/v1alpha1",
        "kind": "TrainingRun",
        "name": "market",
        "namespace": "default",
        "uid": UID,
    }
    assert (event["type"], event["reason"], event["message"]) == ("Normal", "JobCreated", "Job market-1 is created")
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z")
    assert (event["reportingInstance"], event["count"]) == ("pod-1", 1)


def test_a_message_is_cut_to_what_the_server_takes() -> None:
    server = story(lambda server: server.tell(Event(type="Normal", reason="Long", message="x" * 5000)))

    assert [len(event["message"]) for event in server.stored.values()] == [MESSAGE_MAX]


def test_what_is_said_again_is_counted_with_its_time() -> None:
    async def tell(server: Server) -> None:
        await server.tell(CREATED, FAILED)
        await asyncio.sleep(60)
        await server.tell(CREATED, CREATED)

    server = story(tell)
    assert server.counts() == {"JobCreated": 3, "Crashed": 1}
    assert server.requests == ["POST", "POST", "PATCH", "PATCH"]
    (created,) = (event for event in server.stored.values() if event["reason"] == "JobCreated")
    assert (created["firstTimestamp"], created["lastTimestamp"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:01:00Z")
    assert server.sent == 4


def test_a_new_process_goes_on_counting() -> None:
    async def tell(server: Server) -> None:
        await server.tell(CREATED, CREATED)
        server.restart()
        await server.tell(CREATED, CREATED)

    server = story(tell)
    assert server.counts() == {"JobCreated": 4}
    assert server.requests[2:] == ["POST", "GET", "PATCH", "PATCH"]


def test_what_the_server_has_forgotten_is_said_anew() -> None:
    async def tell(server: Server) -> None:
        await server.tell(CREATED, CREATED)
        server.stored.clear()
        await server.tell(CREATED)
        assert server.counts() == {"JobCreated": 1}
        await server.tell(CREATED)

    assert story(tell).counts() == {"JobCreated": 2}


def test_only_so_many_counts_are_remembered_and_the_rest_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 1)

    server = story(lambda server: server.tell(CREATED, FAILED, CREATED))
    assert server.counts() == {"JobCreated": 2, "Crashed": 1}
    assert server.requests == ["POST", "POST", "POST", "GET", "PATCH"]


# -- bad days -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 403, 409, 500])
def test_an_event_that_is_refused_is_one_line_in_the_log_and_the_next_is_told(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell(server: Server) -> None:
        server.refusals = [refusal(status), refusal(status)]
        await server.tell(CREATED)
        server.refusals.clear()
        await server.tell(FAILED)

    caplog.set_level(logging.INFO)
    server = story(tell)
    assert (server.counts(), server.sent) == ({"Crashed": 1}, 1)
    (line,) = caplog.messages
    assert line.startswith(f"the Event JobCreated of default/market is not told: refused with {status}")


def test_a_full_queue_drops_the_newest_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "WAITING", 2)

    async def tell(server: Server) -> None:
        for event in (CREATED, FAILED, CREATED, CREATED):
            server.recorder.record(RUN, event)
        assert server.recorder.dropped == 2
        await server.tell()
        sending = asyncio.create_task(server.recorder.run())
        await server.recorder.flush()
        sending.cancel()

    server = story(tell)
    assert server.counts() == {"JobCreated": 1, "Crashed": 1}
    assert caplog.messages == ["more than 2 Events wait to be sent; newer ones are dropped"]
