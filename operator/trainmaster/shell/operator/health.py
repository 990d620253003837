"""Health endpoints: /healthz (is this process worth keeping?), /readyz (does it see the cluster?), /metrics.

An API server that is away makes nothing unhealthy: a new process would find it away as well.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from trainmaster.shell.operator.metrics import CONTENT_TYPE, Metrics

STUCK_SECONDS = 600
"""A reconcile in flight for so long is stuck: each request in it gives up after 30 s."""


def health_app(metrics: Metrics, *, unready: Callable[[], str]) -> web.Application:
    """The application; `unready` says what is missing, or nothing."""

    async def healthz(_: web.Request) -> web.Response:
        longest = metrics.longest_reconcile()
        if longest > STUCK_SECONDS:
            return web.Response(status=500, text=f"a reconcile takes {longest:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = unready()
        return web.Response(status=503, text=f"{missing}\n") if missing else web.Response(text="ok\n")

    async def expose(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", expose)
    return app
