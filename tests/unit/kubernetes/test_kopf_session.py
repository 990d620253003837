"""What becomes of kopf's requests on their way: its lists are empty, its watches begin where ours were read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from trainmaster.adapters.kubernetes.kopf_session import NOTHING, WatchStarts

RUNS = "/apis/trainmaster.io/v1alpha1/trainingruns"
MINE = "/apis/trainmaster.io/v1alpha1/namespaces/mine/trainingruns"
VERSIONS = ("101", "102", "103", "104")
"""Of our lists, in their order."""


class Server:
    """An API server that answers with what it was asked."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session, self._base = session, base

    async def get(self, path: str, **query: str) -> dict[str, str]:
        """Ask as kopf does; what arrives at the server."""
        async with self._session.get(self._base + path, params=query) as response:
            answer: dict[str, Any] = await response.json()
            assert answer["path"] == path
            return dict(answer["query"])


async def _echo(request: web.Request) -> web.Response:
    return web.json_response({"path": request.path, "query": dict(request.query)})


def listed_while(talk: Callable[[Server], Awaitable[None]], *, versions: Sequence[str] = VERSIONS) -> list[str]:
    """The paths that we have listed while kopf talked to a server; where versions end, we could not list."""
    listed: list[str] = []

    async def list_all(path: str) -> str:
        listed.append(path)
        if len(listed) > len(versions):
            message = "the server is away"
            raise ConnectionError(message)
        return versions[len(listed) - 1]

    async def play() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", _echo)
        starts = WatchStarts(plural="trainingruns", list_all=list_all)
        async with TestServer(app) as server, aiohttp.ClientSession(middlewares=(starts,)) as session:
            await talk(Server(session, str(server.make_url("")).rstrip("/")))

    asyncio.run(play())
    return listed


async def watch_from(server: Server, path: str, version: str) -> str:
    """The version from which a watch is opened that kopf opens from this one."""
    return (await server.get(path, watch="true", resourceVersion=version))["resourceVersion"]


@pytest.mark.parametrize("prefix", ["", "/k8s/clusters/c-1"])
@pytest.mark.parametrize("path", [RUNS, MINE])
def test_a_list_matches_nothing_and_the_watch_begins_at_ours(prefix: str, path: str) -> None:
    async def talk(server: Server) -> None:
        assert await server.get(prefix + path, limit="500") == NOTHING
        watch = {"watch": "true", "allowWatchBookmarks": "true"}
        answer = await server.get(prefix + path, **watch, resourceVersion="200")
        assert answer == watch | {"resourceVersion": "101"}

    assert listed_while(talk) == [path]


def test_a_watch_that_told_nothing_begins_there_again_and_one_that_did_goes_on() -> None:
    async def talk(server: Server) -> None:
        await server.get(RUNS)
        begun = [await watch_from(server, RUNS, version) for version in ("200", "200", "230", "231")]
        assert begun == ["101", "101", "230", "231"]

    assert listed_while(talk) == [RUNS]


def test_each_list_of_kopf_is_a_new_one_of_ours() -> None:
    async def talk(server: Server) -> None:
        for told, version in (("200", "101"), ("300", "102"), ("300", "103")):
            await server.get(RUNS)
            assert await watch_from(server, RUNS, told) == version

    assert listed_while(talk) == [RUNS] * 3


def test_namespaces_have_starts_of_their_own() -> None:
    async def talk(server: Server) -> None:
        await server.get(RUNS)
        await server.get(MINE)
        assert await watch_from(server, MINE, "9") == "102"
        assert await watch_from(server, RUNS, "9") == "101"

    assert listed_while(talk) == [RUNS, MINE]


def test_where_we_cannot_list_kopf_cannot_either() -> None:
    async def talk(server: Server) -> None:
        with pytest.raises(aiohttp.ClientConnectionError, match=f"no list of {RUNS}: the server is away"):
            await server.get(RUNS)

    listed_while(talk, versions=())


@pytest.mark.parametrize(
    "path", ["/apis/trainmaster.io/v1alpha1", "/apis/trainmaster.io/v1alpha1/runrecords", "/apis", "/version"]
)
def test_whatever_else_it_asks_is_left_as_it_is(path: str) -> None:
    async def talk(server: Server) -> None:
        assert await server.get(path, limit="500") == {"limit": "500"}

    assert listed_while(talk) == []
