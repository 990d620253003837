"""The HTTP side of reports: every answer that a launcher knows, from the real server."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.support.runs import T0, UID, run_of, status_of
from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.api.protocol import MAX_REPORT_BYTES
from trainmaster.ports.identity import LaunchIdentity
from trainmaster.ports.series import SeriesWriteError
from trainmaster.shell.report_desk import ReportDesk
from trainmaster.shell.report_server import REPORT_PATH, report_app

TOKEN = {"Authorization": "Bearer secret"}
REPORT: dict[str, Any] = {"protocol": 1, "runUid": UID, "launch": 1, "generation": 1, "phase": "training", "step": 3}
START = {"seq": 1, "type": "start", "time": "2026-03-01T12:00:00Z", "generation": 1, "start": 1}


class Keeper:
    """Clock and authenticator: one token, one launch."""

    def now(self) -> datetime:
        return T0

    async def identify(self, token: str) -> LaunchIdentity | None:
        return LaunchIdentity(run_uid=UID, launch=1) if token == "secret" else None


class FullStore(MemorySeriesStore):
    def take(self, *_args: object, **_fields: object) -> int:
        raise SeriesWriteError("disk full")


def post(
    body: object, *, headers: dict[str, str] | None = None, store: MemorySeriesStore | None = None
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and JSON body of the answer to one report."""
    run = run_of(status=status_of())
    desk = ReportDesk(
        series=store or MemorySeriesStore(),
        clock=Keeper(),
        find_run=lambda uid: run if uid == UID else None,
        localise=lambda plan: plan,
        on_report=lambda _run: None,
    )
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def ask() -> tuple[int, dict[str, str], dict[str, Any]]:
        async with TestClient(TestServer(report_app(desk=desk, authenticator=Keeper()))) as client:
            answer = await client.post(REPORT_PATH, data=data, headers=TOKEN if headers is None else headers)
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return answer.status, dict(answer.headers), json.loads(text) if is_json else {}

    return asyncio.run(ask())


def test_a_report_is_answered_with_what_is_kept_and_the_plan() -> None:
    status, _, reply = post(REPORT | {"entries": [START]})
    assert (status, reply["protocol"], reply["haveSeq"]) == (200, 1, 1)
    assert (reply["plan"]["runUid"], reply["plan"]["launch"]) == (UID, 1)
    assert reply["nextReportSeconds"] > 0


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}, {"Authorization": "Basic secret"}]
)
def test_401_without_a_valid_token(headers: dict[str, str]) -> None:
    assert post(REPORT, headers=headers)[0] == 401


def test_403_with_the_token_of_another() -> None:
    assert post(REPORT | {"launch": 2})[0] == 403


def test_413_for_too_much() -> None:
    assert post(b" " * (MAX_REPORT_BYTES + 1))[0] == 413


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"no JSON", "JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", ""),
        ({"protocol": 1}, "runUid"),
        (REPORT | {"phase": "dancing"}, "phase"),
        (REPORT | {"entries": [START | {"seq": 0}]}, "entries.0.seq"),
    ],
)
def test_422_says_what_is_wrong(body: object, where: str) -> None:
    status, _, reply = post(body)
    assert status == 422
    assert where in reply["message"]


def test_426_for_another_protocol_though_nothing_else_of_it_can_be_read() -> None:
    status, _, reply = post({"protocol": 2, "phase": "dancing"})
    assert status == 426
    assert "protocol 2 is not spoken here" in reply["message"]


def test_503_asks_to_come_again_when_it_cannot_be_kept() -> None:
    status, headers, reply = post(REPORT | {"entries": [START]}, store=FullStore())
    assert (status, headers["Retry-After"], reply["message"]) == (503, "5", "disk full")
