"""Health endpoints: /healthz (is this process worth keeping?), /readyz (does it see the cluster?), /metrics.

/readyz says what is missing, a line each, with 503; a warning is told there too, and makes nobody unready.
An API server that is away makes nothing unhealthy: a new process would find it away as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from trainmaster.shell.operator.metrics import CONTENT_TYPE, Metrics

STUCK_SECONDS = 600
"""A reconcile in flight for so long is stuck: each request in it gives up after 30 s."""


ENDPOINTS: Final = """There is nothing here. There are:
/healthz  500 when a reconcile hangs: restart the process
/readyz   503 and what is missing, until the cluster is seen
/metrics  for Prometheus
"""


def health_app(
    metrics: Metrics, *, unready: Callable[[], str], warnings: Callable[[], Sequence[str]] = tuple
) -> web.Application:
    """The application; `unready` says what is missing, or nothing, and `warnings` what is odd."""

    async def healthz(_: web.Request) -> web.Response:
        longest = metrics.longest_reconcile()
        if longest > STUCK_SECONDS:
            return web.Response(status=500, text=f"a reconcile takes {longest:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = unready()
        lines = [missing or "ok", *(f"warning: {warning}" for warning in warnings())]
        return web.Response(status=503 if missing else 200, text="".join(f"{line}\n" for line in lines))

    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=404, text=ENDPOINTS)

    async def expose(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", expose)
    app.router.add_get("/{path:.*}", elsewhere)
    return app
