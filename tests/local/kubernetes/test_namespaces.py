"""A namespace that is served and does not exist: a warning while it is so, and nothing where we may not look."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.scripted_server import Answer, refuses, says, scripted_server
from trainmaster.adapters.kubernetes.client import ApiClient, ApiError
from trainmaster.adapters.kubernetes.namespaces import NamespaceWatch

MAY = says({"status": {"allowed": True}})
MAY_NOT = says({"status": {"allowed": False}})
THERE = says({"kind": "Namespace"})
GONE = refuses(404, "NotFound")
WARNING = "namespace nope does not exist: nothing is served there until it does (--namespace)"


def warnings(*script: Answer, looks: int) -> tuple[str, ...]:
    """What is said of the namespace after so many looks."""

    async def main() -> tuple[str, ...]:
        async with scripted_server(*script) as server, ApiClient(server.connection) as client:
            watch = NamespaceWatch(client, ("nope",))
            for _ in range(looks):
                await watch.look("nope")
            return watch.warnings

    return asyncio.run(main())


def test_it_is_said_once_and_told_for_as_long_as_it_is_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    assert warnings(MAY, GONE, MAY, GONE, looks=2) == (WARNING,)
    assert caplog.messages == [WARNING]


def test_it_may_come(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    assert warnings(MAY, GONE, MAY, THERE, looks=2) == ()
    assert caplog.messages == [WARNING, "namespace nope exists now"]


def test_who_may_not_look_is_not_refused_and_says_nothing() -> None:
    assert warnings(MAY_NOT, looks=1) == ()


def test_what_is_not_known_is_not_said() -> None:
    with pytest.raises(ApiError):
        warnings(refuses(403, "Forbidden"), looks=1)
