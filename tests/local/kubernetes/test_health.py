"""The health endpoints over HTTP: what makes a process worthless, what makes it unready, and its metrics."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import patch

import aiohttp
import pytest
from aiohttp import web

from trainmaster.api.objects import Key
from trainmaster.shell.operator.health import STUCK_SECONDS, health_app
from trainmaster.shell.operator.metrics import Metrics


def ask(path: str, metrics: Metrics, *, missing: str = "", warnings: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Status, text and content type of an answer."""

    async def main() -> tuple[int, str, str]:
        runner = web.AppRunner(health_app(metrics, unready=lambda: missing, warnings=lambda: warnings), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status, await answer.text(), answer.headers["Content-Type"]
        finally:
            await runner.cleanup()

    return asyncio.run(main())


def in_flight_for(seconds: float) -> Metrics:
    metrics, begun = Metrics(), time.monotonic() - seconds
    with patch("time.monotonic", lambda: begun):
        metrics.started(Key("default", "a"), 0)
    return metrics


@pytest.mark.parametrize("missing", ["", "not listed yet: /apis/batch/v1/jobs"])
def test_a_process_is_healthy_whatever_it_does_not_see(missing: str) -> None:
    assert ask("/healthz", Metrics(), missing=missing)[:2] == (200, "ok\n")
    assert ask("/healthz", in_flight_for(STUCK_SECONDS - 60))[0] == 200


def test_a_pass_that_is_stuck_makes_it_worthless() -> None:
    status, text, _ = ask("/healthz", in_flight_for(STUCK_SECONDS + 5))

    assert status == 500
    assert text.startswith(f"a reconcile takes {STUCK_SECONDS + 5}")


def test_it_is_ready_when_nothing_is_missing() -> None:
    assert ask("/readyz", Metrics())[:2] == (200, "ok\n")
    assert ask("/readyz", Metrics(), missing="not listed yet: /x")[:2] == (503, "not listed yet: /x\n")
    assert ask("/readyz", in_flight_for(STUCK_SECONDS + 5))[0] == 200


def test_metrics_are_in_prometheus_format() -> None:
    status, text, kind = ask("/metrics", Metrics())

    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert "\n# TYPE trainmaster_runs gauge\ntrainmaster_runs 0.0\n" in text


@pytest.mark.parametrize("path", ["/", "/health"])
def test_nothing_else_is_served_and_what_is_served_is_told(path: str) -> None:
    status, text, _ = ask(path, Metrics())

    assert status == 404
    for endpoint in ("/healthz", "/readyz", "/metrics"):
        assert f"{endpoint} " in text


def test_a_warning_makes_nobody_unready_and_is_told() -> None:
    assert ask("/readyz", Metrics(), warnings=("namespace x",))[:2] == (200, "ok\nwarning: namespace x\n")
    assert ask("/readyz", Metrics(), missing="y", warnings=("namespace x",))[:2] == (503, "y\nwarning: namespace x\n")
