"""Leader election by a Lease: one replica acts, and stops acting before another may begin.

The holder renews every `RETRY_SECONDS`. Another takes over only when it has seen the Lease unchanged for
`DURATION_SECONDS` on its own clock. The holder counts from before it sent its last good renewal, and gives up after
`DEADLINE_SECONDS`: the five seconds between are for clocks that tick differently. All on monotonic clocks, which go on
while a process is stopped; a process that wakes up too late finds that it does not lead before it writes anything.
A holder that cannot renew, because the API server is away or refuses it, writes nothing, and goes on when it finds the
Lease still its own: an outage or a Role that was removed restarts nobody, since a new process would fare no better. One
that finds another's name in it has lost it, and ends.
(Durations are those of client-go's leaderelection.)
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import CONFLICT, NOT_FOUND, ApiClient, ApiError
from trainmaster.adapters.kubernetes.repetitions import Repetitions
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key

logger = logging.getLogger(__name__)

Json = dict[str, Any]

DURATION_SECONDS: Final = 15
DEADLINE_SECONDS: Final = 10
RETRY_SECONDS: Final = 2
CONFLICTS: Final = frozenset({NOT_FOUND, CONFLICT})
"""Answers to a write that say that another was there first; a Lease that cannot be created is no such thing."""
ADVICE: Final = "`trainmaster selftest --cluster` says what is missing"
ANNOTATION_URL: Final = "trainmaster.io/report-url"
"""Where the holder takes reports: replicas that do not lead send launchers there. A launcher that goes there checks
for the name by which it knows the operator, so that nothing but an operator's key makes it say its token."""


class LostLeadershipError(TrainmasterError):
    """This process does not lead any more: it must not write."""


class NoNamespaceError(TrainmasterError):
    """There is no namespace for the Lease."""


class LeaderElector:
    """Campaigns for one Lease, and holds it."""

    def __init__(
        self,
        client: ApiClient,
        *,
        lease: Key,
        identity: str,
        report_url: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._key = lease
        self._identity = identity
        self._report_url = report_url
        self._monotonic = monotonic
        self._valid_until = float("-inf")
        self._seen: tuple[str, float] = ("", 0.0)
        """The Lease's version, and when it was first seen."""
        self.leader_url: str | None = None
        """Where the present holder takes reports, as far as is known."""
        self._waits_for = ""
        """Whose lead we have said that we wait for."""
        self._trouble = f"the Lease {lease} was not asked for yet"
        """Why the Lease could not be had when it was asked for last; empty where it could, or nobody answers."""
        self._repetitions = Repetitions(monotonic=monotonic)

    @property
    def missing(self) -> str:
        """Why this process can neither act nor wait its turn; empty where it can, or the API server is away."""
        return "" if self.leading else self._trouble

    @property
    def leading(self) -> bool:
        """Whether this process may act now."""
        return self._monotonic() < self._valid_until

    def check(self) -> None:
        """Raise LostLeadershipError unless this process may act now."""
        if not self.leading:
            message = f"{self._identity} does not hold the Lease {self._key}; nothing is written"
            raise LostLeadershipError(message)

    async def acquire(self) -> None:
        """Return when this process leads."""
        while True:
            if await self._try():
                return
            await asyncio.sleep(RETRY_SECONDS * random.uniform(1.0, 1.2))  # noqa: S311 - jitter

    async def hold(self) -> None:
        """Renew for ever. Raises LostLeadershipError when another process has taken the Lease."""
        led = True
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            await self._try(held=True)
            if led and not self.leading:
                logger.warning("the Lease %s could not be renewed: nothing is written until it is", self._key)
            elif self.leading and not led:
                logger.info("the Lease %s is renewed; going on", self._key)
            led = self.leading

    async def release(self) -> None:
        """Let another take over at once."""
        if not self.leading:
            return
        self._valid_until = float("-inf")
        try:
            lease = await self._client.get(paths.lease(self._key))
            if lease["spec"].get("holderIdentity") == self._identity:
                await self._client.put(paths.lease(self._key), _spec(lease, {"holderIdentity": ""}))
        except ApiError as error:
            logger.info("the Lease %s is not released: %s; it expires", self._key, error)

    async def _try(self, *, held: bool = False) -> bool:
        """One try to take or renew the Lease; whether this process leads."""
        started = self._monotonic()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                mine = await self._take(held=held)
            self._trouble = ""
        except TimeoutError:
            mine = False
        except (ApiError, NoNamespaceError) as error:
            self._refused(error)
            mine = False
        if mine:
            self._valid_until = started + DEADLINE_SECONDS
        return mine

    def _refused(self, error: ApiError | NoNamespaceError) -> None:
        """Note why the Lease cannot be had, and say it, but not each time."""
        status = error.status if isinstance(error, ApiError) else NOT_FOUND
        if isinstance(error, ApiError) and status in CONFLICTS:
            return
        told = f"the Lease {self._key}: {error}"
        if status:
            told = f"{told}; nothing is written until it can be had; {ADVICE}"
            self._trouble = told
        if text := self._repetitions.text(told):
            logger.warning("%s", text)

    async def _create(self) -> None:
        try:
            await self._client.post(paths.leases(self._key.namespace), self._new())
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            message = f"namespace {self._key.namespace} does not exist: create it, or name another --lease-namespace"
            raise NoNamespaceError(message) from error

    def _wait_for(self, holder: str) -> None:
        """Say who leads, when it is another than before."""
        if holder != self._waits_for:
            logger.info("waiting: %s leads", holder)
        self._waits_for = holder

    async def _take(self, *, held: bool) -> bool:
        try:
            lease = await self._client.get(paths.lease(self._key))
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            await self._create()
            return True
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        told = (lease["metadata"].get("annotations") or {}).get(ANNOTATION_URL)
        self.leader_url = _address(told) if holder else None
        if held and holder != self._identity:
            # Even if it could be had again: whoever had it in between has decided things that we did not see.
            self._valid_until = float("-inf")
            message = f"the Lease {self._key} of {self._identity} is {holder or 'nobody'}'s now; another replica leads"
            raise LostLeadershipError(message)
        looked = self._monotonic()
        if self._seen[0] != version:
            # Not from when the look was sent: it may have been served much later, just after a renewal.
            self._seen = version, looked
        expired = looked - self._seen[1] > (spec.get("leaseDurationSeconds") or DURATION_SECONDS)
        if holder not in {"", self._identity} and not expired:
            self._wait_for(holder)
            return False
        change: Json = {"holderIdentity": self._identity, "renewTime": _now(), "leaseDurationSeconds": DURATION_SECONDS}
        if holder != self._identity:
            change |= {"acquireTime": _now(), "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
            logger.info("taking the Lease %s from %r", self._key, holder)
        lease["metadata"].setdefault("annotations", {})[ANNOTATION_URL] = self._report_url
        await self._client.put(paths.lease(self._key), _spec(lease, change))
        return True

    def _new(self) -> Json:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._key.name,
                "namespace": self._key.namespace,
                "annotations": {ANNOTATION_URL: self._report_url},
            },
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": _now(),
                "renewTime": _now(),
                "leaseTransitions": 1,
            },
        }


def _spec(lease: Json, change: Json) -> Json:
    """The Lease with parts of its spec changed; its resourceVersion makes the write conditional."""
    return lease | {"spec": (lease.get("spec") or {}) | change}


def _address(url: object) -> str | None:
    """Scheme, host and port of a URL, and nothing else of it; None where it has none to send anybody to."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
        plain = parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if plain and parts.scheme in {"http", "https"} else None


def _now() -> str:
    """For people who look at the Lease: no decision reads it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
