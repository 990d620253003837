"""The HTTP side of reports: `POST /v1/reports`. TLS, tokens, limits differ between cluster and laptop, this does not.

What costs least is asked first: is this the leader, is it small and plain enough, whose token is it, does that pod and
its namespace still have room. Only then is the body read, and only then does the desk see it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web
from pydantic import ValidationError

from trainmaster.api.base import OpenModel
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.plan import PROTOCOL
from trainmaster.api.protocol import MAX_REPORT_BYTES, Reply, Report, digest_of
from trainmaster.ports.identity import AuthenticationUnavailableError, Authenticator, LaunchIdentity
from trainmaster.shell.rate_limit import Rate, RateLimit
from trainmaster.shell.report_desk import RefusedError, ReportDesk
from trainmaster.shell.turns import Turns

logger = logging.getLogger(__name__)

REPORT_PATH = "/v1/reports"
RETRY_AFTER_SECONDS = 5
BODY_SECONDS: Final = 10
"""For a body to arrive once its header has; a launcher gives up on the whole request after as long."""
REPORTS_EACH_TURN: Final = 32
"""Reports that are read and taken in one turn of the event loop, some 8 ms of it: all else that runs there (reconciles,
watches, the Lease) waits no longer for its own, however many launchers report at once."""
HOLD_SECONDS: Final = 0.25
"""How long an answer 429 is held back: who does not wait by himself then sends four a second on each connection, as
`POD_RATE` has it, and not as many as a core can refuse. No launcher notices: it leaves as much between two reports."""
TOO_MANY: Final = 429
BEARER = "Bearer "


POD_RATE: Final = Rate(per_second=4, burst=40)
"""A launcher never sends more than four a second, but for a backlog: 40 reports are the 2,000 training points of a full
journal, ten times over."""
NAMESPACE_RATE: Final = Rate(per_second=1000, burst=5000)
"""Five thousand launches at their pace of one in 5 s; less than half of what a core takes, so that one namespace leaves
room for the others."""
BAD_TOKEN_RATE: Final = Rate(per_second=1, burst=50)
"""Refused tokens by address: a node's pods that start with a wrong audience are heard, guessing is not."""
UNLIMITED: Final = Rate(per_second=1e6, burst=1_000_000)
"""More than any process answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRates:
    """How much is taken from whom."""

    pod: Rate = POD_RATE
    namespace: Rate = NAMESPACE_RATE
    bad_tokens: Rate = BAD_TOKEN_RATE


class Leadership(Protocol):
    """Whether this replica leads, and who does if not."""

    @property
    def leading(self) -> bool:
        """Whether this replica may take reports."""

    @property
    def leader_url(self) -> str | None:
        """Scheme, host and port of the leader's report server; None when nobody is known to lead."""


class SoleReplica:
    """Leadership where there is only one."""

    leading = True
    leader_url = None


Observer = Callable[[int, float], None]
"""Told of each answer: HTTP status, seconds."""


class ReportHandler:
    """Answers requests; knows which connections are busy, so that a server can stop without cutting them off."""

    def __init__(
        self,
        *,
        desk: ReportDesk,
        authenticator: Authenticator,
        leadership: Leadership | None = None,
        rates: ReportRates | None = None,
        on_answer: Observer | None = None,
        trusted: Callable[[], str] | None = None,
    ) -> None:
        """`trusted` says which authorities launchers shall trust, as PEM; nothing where they need not be told."""
        rates = rates or ReportRates()
        self._desk = desk
        self._authenticator = authenticator
        self._leadership: Leadership = leadership or SoleReplica()
        self._pods = RateLimit(rates.pod)
        self._namespaces = RateLimit(rates.namespace)
        self._bad_tokens = RateLimit(rates.bad_tokens)
        self._on_answer = on_answer
        self._trusted = trusted or (lambda: "")
        self._turns = Turns(each=REPORTS_EACH_TURN)
        self.busy: set[object] = set()
        """Connections with a request in hand."""
        self.draining = False
        """Answers close their connections."""
        self.idle = asyncio.Event()
        """Set when nothing is in hand, once it drains."""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """The answer to any request."""
        if request.path != REPORT_PATH:
            return _problem(404, f"reports go to {REPORT_PATH}")
        if request.method != "POST":
            return _problem(405, "reports are posted", headers={"Allow": "POST"})
        return await self.post(request)

    async def post(self, request: web.BaseRequest) -> web.Response:
        """The answer to a report."""
        started, connection = time.perf_counter(), request.protocol
        self.busy.add(connection)
        try:
            answer = await self._answer(request)
            answered = time.perf_counter()
            if answer.status == TOO_MANY and not self.draining:
                await asyncio.sleep(HOLD_SECONDS)
        finally:
            self.busy.discard(connection)
            if self.draining and not self.busy:
                self.idle.set()
        if self.draining:
            answer.force_close()
        if self._on_answer is not None:
            self._on_answer(answer.status, answered - started)
        return answer

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            identity = await self._identity(request)
        except AuthenticationUnavailableError as error:
            return _later(503, str(error), seconds=error.retry_after)
        if isinstance(identity, web.Response):
            return identity
        return self._throttled(identity) or await self._take(request, identity)

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """What can be said without knowing who asks."""
        if not self._leadership.leading:
            leader = self._leadership.leader_url
            if leader is None:
                return _later(503, "no replica leads just now", seconds=RETRY_AFTER_SECONDS)
            location = leader.rstrip("/") + REPORT_PATH
            return _problem(421, "this replica does not lead", headers={"Location": location})
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return _problem(415, "reports are not compressed", headers={"Accept-Encoding": "identity"})
        if (request.content_length or 0) > MAX_REPORT_BYTES:
            return _problem(413, f"at most {MAX_REPORT_BYTES} bytes, got {request.content_length}")
        return None

    async def _identity(self, request: web.BaseRequest) -> LaunchIdentity | web.Response:
        address, now = request.remote or "", time.monotonic()
        wait = self._bad_tokens.wait(address, now)
        if wait > 0:
            return _later(429, "too many bad tokens from this address", seconds=wait)
        header = request.headers.get("Authorization", "")
        identity = await self._authenticator.identify(header[len(BEARER) :]) if header.startswith(BEARER) else None
        if identity is None:
            self._bad_tokens.take(address, now)
            return _problem(401, "no valid bearer token")
        return identity

    def _throttled(self, identity: LaunchIdentity) -> web.Response | None:
        now = time.monotonic()
        wait = self._pods.take(identity, now)
        if wait > 0:
            return _later(429, "too many reports from this pod", seconds=wait)
        wait = self._namespaces.take(identity.namespace, now)
        if wait > 0:
            return _later(429, f"too many reports from namespace {identity.namespace}", seconds=wait)
        return None

    async def _take(self, request: web.BaseRequest, identity: LaunchIdentity) -> web.Response:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
        except TimeoutError:
            return _closing(_problem(408, f"the body did not arrive within {BODY_SECONDS} s"))
        except web.HTTPRequestEntityTooLarge:
            return _problem(413, f"at most {MAX_REPORT_BYTES} bytes")
        except (ConnectionError, web.RequestPayloadError) as error:
            return _closing(_problem(400, f"the body broke off: {error}"))
        await self._turns.mine()
        return self._reply(identity, body)

    def _reply(self, identity: LaunchIdentity, body: bytes) -> web.Response:
        try:
            report = Report.model_validate_json(body)
        except ValidationError as error:
            return self._unreadable(body, error)
        try:
            reply = self._desk.take(identity, report)
        except RefusedError as error:
            return _refused(error)
        except TrainmasterError as error:
            # The series cannot be written, or the run not be read: the launcher keeps what it has, and trains on.
            logger.warning("a report of launch %d is not kept: %s", identity.launch, error)
            return _later(503, str(error), seconds=RETRY_AFTER_SECONDS)
        body = self._with_trust(reply, report).model_dump_json(by_alias=True, exclude_none=True).encode()
        return web.Response(body=body, content_type="application/json")

    def _with_trust(self, reply: Reply, report: Report) -> Reply:
        """The reply, with the authorities for a launcher that has not said that it knows them."""
        trusted = self._trusted()
        if not trusted or report.trusts == digest_of(trusted):
            return reply
        return reply.model_copy(update={"trust": trusted})

    def _unreadable(self, body: bytes, error: ValidationError) -> web.Response:
        """A report of another version need not be readable at all: then that is what is wrong with it."""
        try:
            self._desk.check_protocol(_Versioned.model_validate_json(body).protocol)
        except ValidationError as unversioned:
            return _problem(422, _first_problem(unversioned))
        except RefusedError as refused:
            return _refused(refused)
        return _problem(422, _first_problem(error))


def report_app(*, desk: ReportDesk, authenticator: Authenticator) -> web.Application:
    """The application that takes reports on this machine, as fast as they come: its launchers are our own."""
    rates = ReportRates(pod=UNLIMITED, namespace=UNLIMITED, bad_tokens=UNLIMITED)
    handler = ReportHandler(desk=desk, authenticator=authenticator, rates=rates)
    app = web.Application(client_max_size=MAX_REPORT_BYTES)
    app.router.add_post(REPORT_PATH, handler.post)
    return app


class _Versioned(OpenModel):
    """All that is read of a report that is not readable as one of this version."""

    protocol: int = PROTOCOL


def _problem(status: int, message: str, *, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"message": message}, status=status, headers=headers)


def _later(status: int, message: str, *, seconds: float) -> web.Response:
    """A refusal that time heals."""
    return _problem(status, message, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


def _refused(error: RefusedError) -> web.Response:
    if error.later:
        return _later(error.status, str(error), seconds=RETRY_AFTER_SECONDS)
    return _problem(error.status, str(error))


def _closing(answer: web.Response) -> web.Response:
    """An answer after which the connection is of no use: nobody knows where the next request would begin."""
    answer.force_close()
    return answer


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
