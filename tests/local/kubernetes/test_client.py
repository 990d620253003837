"""The client of the API server on a loopback server: what is repeated, what never is, and what errors say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.scripted_server import Answer, ScriptedServer, refuses, resets, says, scripted_server, streams
from trainmaster.adapters.kubernetes import client as module
from trainmaster.adapters.kubernetes.client import ApiClient, ApiError, WatchExpiredError
from trainmaster.adapters.kubernetes.connection import ConnectionFailedError
from trainmaster.api.errors import TrainmasterError

Json = dict[str, Any]
Story = Callable[[ApiClient], Awaitable[Any]]
THING = {"metadata": {"name": "a"}}
PATH = "/api/v1/things"
BAD_GATEWAY = b"<html><body>502 Bad Gateway</body></html>"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_PAUSE_SECONDS", 0.001)


def tell(story: Story, *script: Answer, **options: Any) -> tuple[Any, ScriptedServer]:  # noqa: ANN401 - the client's
    """The result of the story, or the error that it ended with, and the server."""

    async def main() -> tuple[Any, ScriptedServer]:
        async with scripted_server(*script) as server, ApiClient(server.connection, **options) as client:
            try:
                return await story(client), server
            except TrainmasterError as error:
                return error, server

    return asyncio.run(main())


def get(client: ApiClient) -> Awaitable[Json]:
    return client.get(PATH)


def post(client: ApiClient) -> Awaitable[Json]:
    return client.post(PATH, THING)


WRITES = [
    pytest.param(post, id="post"),
    pytest.param(lambda client: client.put(PATH, THING), id="put"),
    pytest.param(lambda client: client.patch(PATH, THING), id="patch"),
    pytest.param(lambda client: client.delete(PATH, THING), id="delete"),
]


async def watch(client: ApiClient) -> list[tuple[str, Json]]:
    return [event async for event in client.watch(PATH, version="7", selector="a=b")]


# -- repeating ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(resets, id="reset"),
        *(pytest.param(refuses(status), id=str(status)) for status in (500, 502, 503, 504)),
        pytest.param(says(b"<html>"), id="no JSON"),
    ],
)
def test_a_read_is_repeated_through_a_short_outage(trouble: Answer) -> None:
    result, server = tell(get, trouble, trouble, says(THING))

    assert result == THING
    assert len(server.asked) == 3


def test_a_read_gives_up_in_the_end_and_says_what_it_got() -> None:
    result, server = tell(get, *[says(BAD_GATEWAY, status=502)] * module.READ_TRIES)

    assert isinstance(result, ApiError)
    assert (result.status, result.reason) == (502, "Bad Gateway")
    assert str(result) == f"GET {PATH}: 502 {BAD_GATEWAY.decode()}"
    assert len(server.asked) == module.READ_TRIES


@pytest.mark.parametrize("status", [400, 403, 404, 410, 422, 429])
def test_a_read_that_is_refused_is_not_repeated(status: int) -> None:
    result, server = tell(get, refuses(status, "Reason"))

    assert isinstance(result, ApiError)
    assert (result.status, result.reason) == (status, "Reason")
    assert str(result) == f"GET {PATH}: {status} because Reason"
    assert len(server.asked) == 1


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        pytest.param(resets, 0, id="reset"),
        pytest.param(refuses(500), 500, id="500"),
        pytest.param(refuses(503, Retry_After="1"), 503, id="503 with Retry-After"),
        pytest.param(refuses(409, "Conflict"), 409, id="409"),
        pytest.param(refuses(429), 429, id="429 without Retry-After"),
        pytest.param(refuses(429, Retry_After="31"), 429, id="429 for too long"),
        pytest.param(says(b"<html>"), 0, id="done, but nobody knows what"),
    ],
)
def test_a_write_is_never_repeated(write: Story, trouble: Answer, status: int) -> None:
    result, server = tell(write, trouble)

    assert isinstance(result, ApiError)
    assert result.status == status
    assert len(server.asked) == 1


@pytest.mark.parametrize("write", WRITES)
def test_but_one_that_the_server_did_not_begin_is(write: Story) -> None:
    result, server = tell(write, refuses(429, Retry_After="0"), refuses(429, Retry_After="0"), says(THING))

    assert result == THING
    assert [asked.body for asked in server.asked] == [THING] * 3


def test_not_for_ever() -> None:
    result, server = tell(post, *[refuses(429, "TooManyRequests", Retry_After="0")] * module.BUSY_TRIES)

    assert isinstance(result, ApiError)
    assert (result.reason, result.retry_after) == ("TooManyRequests", 0)
    assert len(server.asked) == module.BUSY_TRIES


def test_methods_and_content_types_are_those_that_an_api_server_expects() -> None:
    async def all_writes(client: ApiClient) -> None:
        for write in (client.post, client.put, client.patch, client.delete):
            await write(PATH, THING)

    _, server = tell(all_writes, *[says(THING)] * 4)

    assert [(asked.method, asked.content_type) for asked in server.asked] == [
        ("POST", "application/json"),
        ("PUT", "application/json"),
        ("PATCH", "application/merge-patch+json"),
        ("DELETE", "application/json"),
    ]


def test_a_server_that_is_away_is_an_error_with_status_0() -> None:
    async def story() -> ApiError:
        async with scripted_server() as server:
            connection = server.connection()
        async with ApiClient(lambda: connection) as client:
            with pytest.raises(ApiError, match=f"GET {PATH}: the API server does not answer: ") as caught:
                await client.get(PATH)
            return caught.value

    error = asyncio.run(story())
    assert (error.status, error.reason) == (0, "Unreachable")


@pytest.mark.parametrize("body", [b"[]", b'"no"', b"null", b"7", b'{"code": 500}', b"\xff\xfe"])
def test_a_refusal_in_any_form_is_an_api_error(body: bytes) -> None:
    result, _ = tell(post, says(body, status=500))

    assert isinstance(result, ApiError)
    assert (result.status, result.reason) == (500, "Internal Server Error")


# -- permission ---------------------------------------------------------------------------------------------------


class Tokens:
    """Credentials that are others each time they are read; the last ones stay."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.loads = 0

    def tell(self, story: Story, *script: Answer) -> tuple[Any, ScriptedServer]:
        async def main() -> tuple[Any, ScriptedServer]:
            async with scripted_server(*script) as server:

                def load() -> Any:  # noqa: ANN401 - a Connection
                    self.loads += 1
                    if not self.tokens:
                        raise ConnectionFailedError("the file is gone")
                    return server.connection(self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0])

                async with ApiClient(load) as client:
                    try:
                        return await story(client), server
                    except TrainmasterError as error:
                        return error, server

        return asyncio.run(main())


@pytest.mark.parametrize("request_", [get, post])
def test_credentials_that_are_refused_are_read_again(request_: Story) -> None:
    result, server = Tokens("old", "new").tell(request_, refuses(401), says(THING))

    assert result == THING
    assert [asked.authorization for asked in server.asked] == ["Bearer old", "Bearer new"]


def test_the_same_credentials_are_not_sent_twice() -> None:
    tokens = Tokens("old")
    result, server = tokens.tell(post, refuses(401, "Unauthorized"))

    assert isinstance(result, ApiError)
    assert (result.status, len(server.asked), tokens.loads) == (401, 1, 2)


def test_credentials_that_cannot_be_read_again_leave_the_refusal(caplog: pytest.LogCaptureFixture) -> None:
    tokens = Tokens("old")

    async def story(client: ApiClient) -> Json:
        tokens.tokens.clear()
        return await client.post(PATH, THING)

    result, _ = tokens.tell(story, refuses(401, "Unauthorized"))
    assert isinstance(result, ApiError)
    assert caplog.messages == ["the API server refuses our credentials, and no others can be read: the file is gone"]


@pytest.mark.parametrize("write", WRITES)
def test_who_may_not_write_sends_nothing_but_reads(write: Story) -> None:
    def refuse() -> None:
        raise TrainmasterError("another leads")

    result, server = tell(write, may_write=refuse)
    assert (str(result), server.asked) == ("another leads", [])
    assert tell(get, says(THING), may_write=refuse)[0] == THING


def test_the_right_to_write_is_asked_for_again_before_a_repetition() -> None:
    rights = iter([None, TrainmasterError("lost meanwhile")])

    def may_write() -> None:
        if (error := next(rights)) is not None:
            raise error

    result, server = tell(post, refuses(429, Retry_After="0"), may_write=may_write)
    assert (str(result), len(server.asked)) == ("lost meanwhile", 1)


def test_each_request_is_counted_with_its_answer() -> None:
    seen: list[tuple[str, int]] = []
    tell(get, resets, refuses(500), says(THING), on_request=lambda method, status, _: seen.append((method, status)))

    assert seen == [("GET", 0), ("GET", 500), ("GET", 200)]


# -- lists --------------------------------------------------------------------------------------------------------


def test_pages_follow_each_other_until_the_last() -> None:
    async def story(client: ApiClient) -> list[tuple[list[Json], str]]:
        return [page async for page in client.pages(PATH, selector="a=b")]

    first = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [THING]}
    last = {"metadata": {"resourceVersion": "7"}, "items": None}
    result, server = tell(story, says(first), resets, says(last))

    assert result == [([THING], "7"), ([], "7")]
    size = str(module.PAGE)
    assert [asked.query for asked in server.asked] == [
        {"limit": size, "labelSelector": "a=b"},
        *[{"limit": size, "labelSelector": "a=b", "continue": "more"}] * 2,
    ]


# -- watches ------------------------------------------------------------------------------------------------------


def line(kind: str = "ADDED", **fields: object) -> bytes:
    return json.dumps({"type": kind, "object": THING | fields}).encode() + b"\n"


def test_a_watch_asks_for_bookmarks_from_a_version_on() -> None:
    result, server = tell(watch, streams(line(), line("BOOKMARK")))

    assert result == [("ADDED", THING), ("BOOKMARK", THING)]
    assert server.asked[0].query == {
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": str(module.WATCH_SECONDS),
        "labelSelector": "a=b",
    }


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_lines_arrive_whole_wherever_they_are_cut(size: int) -> None:
    sent = line(note="\u00e9" * 20) + line("MODIFIED") + line("DELETED", note="x" * 50)
    chunks = [sent[start : start + size] for start in range(0, len(sent), size)]
    result, _ = tell(watch, streams(*chunks))

    assert [kind for kind, _ in result] == ["ADDED", "MODIFIED", "DELETED"]
    assert result[0][1]["note"] == "\u00e9" * 20


def test_a_line_may_be_larger_than_any_buffer() -> None:
    large = "x" * 5_000_000
    result, _ = tell(watch, streams(line(note=large), line()))

    assert [len(item.get("note", "")) for _, item in result] == [len(large), 0]


def test_a_version_that_is_too_old_is_an_error_of_its_own() -> None:
    error = json.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}).encode()
    result, _ = tell(watch, streams(line(), error + b"\n"))

    assert isinstance(result, WatchExpiredError)
    assert str(result) == "too old resource version"


def test_any_other_error_in_a_watch_is_the_servers() -> None:
    error = json.dumps({"type": "ERROR", "object": {"code": 500, "reason": "InternalError", "message": "etcd"}})
    result, _ = tell(watch, streams(error.encode() + b"\n"))

    assert isinstance(result, ApiError)
    assert (result.status, result.reason, str(result)) == (500, "InternalError", "watch: 500 etcd")


@pytest.mark.parametrize(
    "garbage", [b"<html>\n", b"{}\n", b"[]\n", b'{"type": "ADDED"}\n', b'{"type": 1, "object": {}}\n', b"\n"]
)
def test_what_is_no_event_ends_a_watch_with_an_api_error(garbage: bytes) -> None:
    result, _ = tell(watch, streams(line(), garbage))

    assert isinstance(result, ApiError)
    assert result.status == 0


@pytest.mark.parametrize("answer", [refuses(403, "Forbidden"), refuses(410, "Expired"), says(BAD_GATEWAY, status=502)])
def test_a_watch_that_is_refused_says_so(answer: Answer) -> None:
    result, server = tell(watch, answer)

    assert isinstance(result, ApiError)
    assert result.status in {403, 410, 502}
    assert len(server.asked) == 1


def test_a_watch_that_is_cut_is_an_error_after_what_came() -> None:
    seen = []

    async def story(client: ApiClient) -> None:
        async for kind, _ in client.watch(PATH, version="7"):
            seen.append(kind)

    async def cut(request: Any) -> Any:  # noqa: ANN401 - an Answer
        await streams(line(), line("MODIFIED")[:10])(request)
        return await resets(request)

    result, _ = tell(story, cut)
    assert isinstance(result, ApiError)
    assert (result.status, seen) == (0, ["ADDED"])


def test_a_watch_that_is_silent_for_too_long_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.05)
    result, _ = tell(watch, streams(line(), then=asyncio.Event().wait))

    assert isinstance(result, ApiError)
    assert (result.status, result.reason) == (0, "Silent")
