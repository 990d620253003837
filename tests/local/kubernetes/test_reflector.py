"""The plain informer on a loopback server: list, watch, and whatever goes wrong between the two."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.support.scripted_server import Answer, ScriptedServer, refuses, resets, says, scripted_server, streams
from trainmaster.adapters.kubernetes import client as client_module
from trainmaster.adapters.kubernetes import reflector as module
from trainmaster.adapters.kubernetes.client import ApiClient
from trainmaster.adapters.kubernetes.reflector import Reflector

Json = dict[str, Any]
PATH = "/apis/batch/v1/jobs"
EXPIRED = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
LIMIT_SECONDS = 30
"""No story takes a tenth of that: this only ends one that would never end."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "READ_TRIES", 1)
    monkeypatch.setattr(module, "RETRY_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(module, "RETRY_MAX_SECONDS", 0.01)


def thing(name: str, version: int) -> Json:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}


def listed(version: int, *items: Json, more: str = "") -> Answer:
    return says({"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items)})


def event(kind: str, item: Json) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def stays(*events: bytes) -> Answer:
    """A watch that stays open after these events."""
    return streams(*events, then=asyncio.Event().wait)


class Seen:
    """A cache that keeps versions, and notes what it was told."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.told: list[str] = []
        self.changed = asyncio.Event()

    def put(self, item: Json, *, listed: bool) -> None:
        meta = item["metadata"]
        self.versions[meta["uid"]] = meta["resourceVersion"]
        self._note(f"{'list' if listed else 'watch'} {meta['name']} {meta['resourceVersion']}")

    def remove(self, item: Json) -> None:
        self.versions.pop(item["metadata"]["uid"], None)
        self._note(f"remove {item['metadata']['name']}")

    def retain(self, uids: frozenset[str]) -> None:
        self.versions = {uid: version for uid, version in self.versions.items() if uid in uids}
        self._note(f"retain {' '.join(sorted(uids))}")

    def _note(self, told: str) -> None:
        self.told.append(told)
        self.changed.set()

    async def until(self, told: str) -> None:
        while told not in self.told:
            self.changed.clear()
            await self.changed.wait()


class Scene:
    """A server, a reflector of it, and its cache."""

    def __init__(self, server: ScriptedServer, client: ApiClient) -> None:
        self.server = server
        self.seen = Seen()
        self.reflector = Reflector(client, path=PATH, cache=self.seen, selector="a=b")

    def asked(self) -> list[str]:
        """What was asked: `list`, or `watch` with the version."""
        return [
            f"watch {asked.query['resourceVersion']}" if "watch" in asked.query else "list"
            for asked in self.server.asked
        ]


def tell(story: Callable[[Scene], Awaitable[None]], *script: Answer) -> Scene:
    async def main() -> Scene:
        async with scripted_server(*script) as server, ApiClient(server.connection) as client:
            scene = Scene(server, client)
            following = asyncio.create_task(scene.reflector.run())
            async with asyncio.timeout(LIMIT_SECONDS):
                await story(scene)
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            return scene

    return asyncio.run(main())


def until(told: str) -> Callable[[Scene], Awaitable[None]]:
    return lambda scene: scene.seen.until(told)


def test_it_lists_all_pages_and_watches_from_there() -> None:
    scene = tell(
        until("remove a"),
        listed(7, thing("a", 3), more="next"),
        listed(7, thing("b", 5)),
        stays(event("ADDED", thing("c", 8)), event("MODIFIED", thing("b", 9)), event("DELETED", thing("a", 10))),
    )

    assert scene.seen.told == ["list a 3", "list b 5", "retain a b", "watch c 8", "watch b 9", "remove a"]
    assert scene.asked() == ["list", "list", "watch 7"]
    assert {asked.query["labelSelector"] for asked in scene.server.asked} == {"a=b"}
    assert scene.reflector.synced.is_set()


def test_a_watch_that_ends_is_followed_by_another_from_the_last_version_bookmarks_included() -> None:
    scene = tell(
        until("watch a 12"),
        listed(7),
        streams(event("ADDED", thing("a", 8))),
        streams(event("BOOKMARK", thing("", 11))),
        stays(event("MODIFIED", thing("a", 12))),
    )

    assert scene.asked() == ["list", "watch 7", "watch 8", "watch 11"]
    assert scene.seen.versions == {"a": "12"}


def test_a_version_that_is_too_old_is_followed_by_a_list_that_forgets_what_is_gone() -> None:
    scene = tell(
        until("watch c 22"),
        listed(7, thing("a", 3), thing("b", 5)),
        streams(json.dumps(EXPIRED).encode() + b"\n"),
        listed(20, thing("b", 15)),
        stays(event("ADDED", thing("c", 22))),
    )

    assert scene.asked() == ["list", "watch 7", "list", "watch 20"]
    assert scene.seen.versions == {"b": "15", "c": "22"}


def test_what_happens_while_it_lists_the_watch_then_tells() -> None:
    """The list is of version 7 although other things have happened since: the watch begins there, not later."""
    scene = tell(
        until("remove b"),
        listed(7, thing("a", 3), more="next"),
        listed(7, thing("b", 5)),
        stays(event("MODIFIED", thing("a", 8)), event("DELETED", thing("b", 9))),
    )

    assert scene.seen.versions == {"a": "8"}


def test_a_server_that_is_away_is_tried_until_it_is_back_and_the_watch_goes_on_where_it_was() -> None:
    scene = tell(
        until("watch a 9"),
        resets,
        resets,
        listed(7, thing("a", 3)),
        resets,
        resets,
        stays(event("MODIFIED", thing("a", 9))),
    )

    assert scene.asked() == ["list", "list", "list", "watch 7", "watch 7", "watch 7"]


@pytest.mark.parametrize("refusal", [refuses(403, "Forbidden"), refuses(410, "Expired"), refuses(500)])
def test_a_watch_that_is_refused_is_followed_by_a_list(refusal: Answer) -> None:
    scene = tell(until("list a 9"), listed(7, thing("a", 3)), refusal, listed(9, thing("a", 9)), stays())

    assert scene.asked()[:3] == ["list", "watch 7", "list"]


def test_pages_that_have_expired_are_read_from_the_beginning() -> None:
    scene = tell(
        until("retain b"),
        listed(7, thing("a", 3), more="next"),
        refuses(410, "Expired"),
        listed(9, thing("b", 8)),
        stays(),
    )

    assert scene.seen.versions == {"b": "8"}
    assert "continue" not in scene.server.asked[2].query


def test_it_waits_longer_each_time_that_a_watch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        if seconds:
            waits.append(seconds)

    monkeypatch.setattr("random.uniform", lambda _low, _high: 1.0)
    monkeypatch.setattr(module, "RETRY_FIRST_SECONDS", 1)
    monkeypatch.setattr(module, "RETRY_MAX_SECONDS", 4)
    monkeypatch.setattr(module, "asyncio", type("Hasty", (), {"sleep": staticmethod(note), "Event": asyncio.Event}))
    tell(until("watch a 9"), listed(7), *[resets] * 4, stays(event("ADDED", thing("a", 9))))

    assert waits == [1, 2, 4, 4]


def test_a_kind_whose_definition_is_fresh_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    tell(until("retain "), refuses(429, "TooManyRequests"), listed(7), stays())

    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_watch_that_ends_without_a_word_is_a_failure_and_not_repeated_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may watch from a version that lies ahead of the server, where a backup was restored: a list tells."""
    stay = stays(event("ADDED", thing("a", 9)))
    scene = tell(until("watch a 9"), listed(7), streams(), listed(5), streams(), listed(5), stay)

    assert scene.asked() == ["list", "watch 7", "list", "watch 5", "list", "watch 5"]
    assert caplog.messages == [f"{PATH}: the watch has ended without a word; trying again"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_kind_that_is_refused_is_said_once_in_one_line_with_advice_and_is_why_it_is_not_ready(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    page = says(b"404 page not\nfound\n", status=status)
    scene = tell(until("retain "), *[page] * 20, listed(7), stays())

    said = "404 page not found" if status == 404 else f"{status} 404 page not found"
    advice = "`trainmaster selftest --cluster` says what is missing"
    assert caplog.messages == [f"GET {PATH}: {said}; trying again; {advice}"]
    assert scene.reflector.missing == ""


def test_what_was_not_listed_yet_is_told_with_the_reason() -> None:
    asked_again = asyncio.Event()

    async def notes() -> None:
        asked_again.set()
        await asyncio.Event().wait()

    async def until_asked_again(_: Scene) -> None:
        await asked_again.wait()

    scene = tell(until_asked_again, refuses(403, "Forbidden"), streams(then=notes))

    assert scene.reflector.missing == f"{PATH} is not listed yet: GET {PATH}: 403 because Forbidden"
