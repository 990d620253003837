"""Who reports: TokenReview behind an offline look, a short memory, and a circuit.

A token is looked at offline first (`report_token`); then the API server is asked, once per token and minute, however
many reports come with it. It says which pod the token is bound to; `PodLookup` says which launch that pod is. A pod
that is deleted loses its voice within `PROVEN_SECONDS`. When the API server cannot answer, nothing is said about the
token: the port raises, the launcher comes again, and no token is refused for the API server's reasons.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from trainmaster.adapters.kubernetes.client import ApiError
from trainmaster.adapters.kubernetes.report_token import Claims, read_claims
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.labels import REPORT_AUDIENCE
from trainmaster.ports.clock import Clock
from trainmaster.ports.identity import AuthenticationUnavailableError, LaunchIdentity

logger = logging.getLogger(__name__)

REVIEW_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
PROVEN_SECONDS: Final = 60
"""How long an answer stands: one review per pod and minute, and a deleted pod is heard for no longer."""
REFUSED_SECONDS: Final = 10
"""How long a refusal stands: long enough to make hammering free, short enough for a pod that was only too early."""
MEMORY_TOKENS: Final = 10_000
"""Tokens remembered, 300 bytes each: twice the pods of the largest installation that is measured."""
REVIEWS_AT_ONCE: Final = 16
"""Reviews in flight: a new operator meets a thousand launchers at once, and the API server shall not notice."""
WAITING_REVIEWS: Final = 2000
"""Reviews that wait for their turn; more than that is no fleet coming back but a flood, and is told to come later."""
REVIEW_SECONDS: Final = 5
"""A launcher waits 10 s for its answer: after this it gets one, and comes again."""
FAILURES_TO_OPEN: Final = 3
"""Reviews in a row without an answer after which the API server counts as away."""
OPEN_SECONDS: Final = 5
"""Pause before it is asked again, by one review; what launchers are told to wait, too."""
REFUSING_STATUSES: Final = frozenset({400, 413, 422})
"""The API server cannot read this token: that is an answer about the token."""
POD_NAME: Final = "authentication.kubernetes.io/pod-name"
POD_UID: Final = "authentication.kubernetes.io/pod-uid"
SERVICE_ACCOUNT: Final = "system:serviceaccount:"


class Poster(Protocol):
    """What is needed of the client to the API server."""

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The parsed answer. Raises ApiError."""


class PodLookup(Protocol):
    """Knows pods."""

    async def launch_of_pod(self, *, namespace: str, name: str, uid: str) -> LaunchIdentity | None:
        """The launch that this pod is of: from the cache, or from the server when it is not there; None if of none.

        Raises:
            ApiError: The server could not be asked.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """What was found out about a token, and until when it stands."""

    identity: LaunchIdentity | None
    until: float


class TokenReviewAuthenticator:
    """An `Authenticator` that asks the API server. Belongs to one event loop; `close` when done."""

    def __init__(self, *, api: Poster, pods: PodLookup, clock: Clock) -> None:
        self._api = api
        self._pods = pods
        self._clock = clock
        self._known: OrderedDict[bytes, _Answer] = OrderedDict()
        self._reviews: dict[bytes, asyncio.Task[LaunchIdentity | None]] = {}
        self._turn = asyncio.Semaphore(REVIEWS_AT_ONCE)
        self._failures = 0
        self._open_until = 0.0

    async def identify(self, token: str) -> LaunchIdentity | None:
        """The launch whose pod holds this token; see `Authenticator.identify`."""
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        now = self._clock.now().timestamp()
        answer = self._known.get(digest)
        if answer is not None and answer.until > now:
            return answer.identity
        review = self._reviews.get(digest)
        if review is None:
            claims = read_claims(token, audience=REPORT_AUDIENCE, now=now)
            if claims is None:
                return None
            review = self._start(digest, token, claims=claims, now=now)
        # A caller that goes away takes nothing from the others who wait for the same answer.
        return await asyncio.shield(review)

    async def close(self) -> None:
        """End what is in flight."""
        reviews = list(self._reviews.values())
        for review in reviews:
            review.cancel()
        await asyncio.gather(*reviews, return_exceptions=True)

    def _start(self, digest: bytes, token: str, *, claims: Claims, now: float) -> asyncio.Task[LaunchIdentity | None]:
        if now < self._open_until or len(self._reviews) >= WAITING_REVIEWS:
            message = f"tokens cannot be reviewed now ({len(self._reviews)} reviews wait); come again"
            raise AuthenticationUnavailableError(message, retry_after=OPEN_SECONDS)
        review = asyncio.create_task(self._resolve(digest, token, claims=claims))
        self._reviews[digest] = review
        review.add_done_callback(lambda done: self._finished(digest, done))
        return review

    def _finished(self, digest: bytes, review: asyncio.Task[LaunchIdentity | None]) -> None:
        self._reviews.pop(digest, None)
        if not review.cancelled():
            review.exception()  # all who waited may be gone: nobody else would ask for it

    async def _resolve(self, digest: bytes, token: str, *, claims: Claims) -> LaunchIdentity | None:
        async with self._turn:
            self._pass_circuit()
            try:
                async with asyncio.timeout(REVIEW_SECONDS):
                    identity = await self._identity(token, claims)
            except (TrainmasterError, TimeoutError) as error:
                raise self._unavailable(str(error) or f"no answer within {REVIEW_SECONDS} s") from error
        self._failures, self._open_until = 0, 0.0
        self._remember(digest, identity, expires=claims.expires)
        return identity

    async def _identity(self, token: str, claims: Claims) -> LaunchIdentity | None:
        pod = await self._review(token)
        if pod is None or (pod.namespace, pod.uid) != (claims.namespace, claims.pod_uid):
            return None
        found = await self._pods.launch_of_pod(namespace=pod.namespace, name=pod.name, uid=pod.uid)
        return None if found is None else replace(found, namespace=pod.namespace, pod_uid=pod.uid)

    async def _review(self, token: str) -> ProvenPod | None:
        spec = {"token": token, "audiences": [REPORT_AUDIENCE]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            answer = await self._api.post(REVIEW_PATH, body)
        except ApiError as error:
            if error.status in REFUSING_STATUSES:
                return None
            raise
        return proven_pod(answer.get("status") or {})

    def _pass_circuit(self) -> None:
        """Refuse while the API server counts as away; of those who waited for the pause to end, one may try."""
        now = self._clock.now().timestamp()
        if now < self._open_until:
            raise AuthenticationUnavailableError("the API server reviews no tokens now", retry_after=OPEN_SECONDS)
        if self._failures >= FAILURES_TO_OPEN:
            self._open_until = now + OPEN_SECONDS

    def _unavailable(self, why: str) -> AuthenticationUnavailableError:
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            if self._failures == FAILURES_TO_OPEN:
                logger.warning("report tokens cannot be reviewed, launchers are told to come again: %s", why)
            self._open_until = self._clock.now().timestamp() + OPEN_SECONDS
        return AuthenticationUnavailableError(f"the token could not be reviewed: {why}", retry_after=OPEN_SECONDS)

    def _remember(self, digest: bytes, identity: LaunchIdentity | None, *, expires: float) -> None:
        now = self._clock.now().timestamp()
        until = now + REFUSED_SECONDS if identity is None else min(now + PROVEN_SECONDS, max(expires, now))
        self._known[digest] = _Answer(identity=identity, until=until)
        self._known.move_to_end(digest)
        while len(self._known) > MEMORY_TOKENS:
            self._known.popitem(last=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvenPod:
    """The pod that the API server says a token is bound to."""

    namespace: str
    name: str
    uid: str


def proven_pod(status: Mapping[str, Any]) -> ProvenPod | None:
    """What the status of a TokenReview proves. `authenticated` is absent, not false, for another audience's token."""
    user = status.get("user") or {}
    username, extra = str(user.get("username") or ""), user.get("extra") or {}
    if status.get("authenticated") is not True or REPORT_AUDIENCE not in (status.get("audiences") or ()):
        return None
    namespace, _, account = username.removeprefix(SERVICE_ACCOUNT).partition(":")
    names, uids = list(extra.get(POD_NAME) or ()), list(extra.get(POD_UID) or ())
    if not username.startswith(SERVICE_ACCOUNT) or not namespace or not account or (len(names), len(uids)) != (1, 1):
        return None
    return ProvenPod(namespace=namespace, name=str(names[0]), uid=str(uids[0]))
