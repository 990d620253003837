"""The HTTP side of reports: `POST /v1/reports`. TLS and tokens differ between cluster and laptop, this does not."""

from __future__ import annotations

import logging

from aiohttp import web
from pydantic import ValidationError

from trainmaster.api.base import OpenModel
from trainmaster.api.plan import PROTOCOL
from trainmaster.api.protocol import MAX_REPORT_BYTES, Report
from trainmaster.ports.identity import Authenticator
from trainmaster.ports.series import SeriesError
from trainmaster.shell.report_desk import RefusedError, ReportDesk

logger = logging.getLogger(__name__)

REPORT_PATH = "/v1/reports"
RETRY_AFTER_SECONDS = 5
BEARER = "Bearer "


def report_app(*, desk: ReportDesk, authenticator: Authenticator) -> web.Application:
    """The application that takes reports."""

    async def post(request: web.Request) -> web.Response:
        header = request.headers.get("Authorization", "")
        identity = await authenticator.identify(header.removeprefix(BEARER)) if header.startswith(BEARER) else None
        if identity is None:
            return _problem(401, "no valid bearer token")
        try:
            body = await request.read()
            desk.check_protocol(_protocol(body))
            reply = desk.take(identity, Report.model_validate_json(body))
        except ValidationError as error:
            return _problem(422, _first_problem(error))
        except RefusedError as error:
            return _problem(error.status, str(error))
        except SeriesError as error:
            logger.warning("a report of launch %d is not kept: %s", identity.launch, error)
            return _problem(503, str(error), headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        return web.Response(
            text=reply.model_dump_json(by_alias=True, exclude_none=True), content_type="application/json"
        )

    app = web.Application(client_max_size=MAX_REPORT_BYTES)
    app.router.add_post(REPORT_PATH, post)
    return app


class _Versioned(OpenModel):
    """All that is read of a report before it is known which version's rules it keeps."""

    protocol: int = PROTOCOL


def _protocol(body: bytes) -> int:
    return _Versioned.model_validate_json(body).protocol


def _problem(status: int, message: str, *, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"message": message}, status=status, headers=headers)


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
