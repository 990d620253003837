"""The report server's authority and leaf in one Secret of the operator's own namespace.

The Secret is there before the operator (the chart renders it without data): the operator may get and update that one
name, and create none. Every replica looks at it once a minute, and whoever finds that something is due does it: the
write carries the version that was read, so that of two replicas that fill it at once one wins, and the other reads what
that one wrote. The rest of the Secret (labels, other keys) is left as it is.

A Secret that was filled and is empty (deleted and made again, replaced by a tool that applies it as it is rendered)
gets back what a replica has read of it: launchers that run trust that authority and no other.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import random
from collections.abc import Mapping
from typing import Any, Final

from trainmaster.adapters.certificates import Material, TlsError, held, trusted, up_to_date
from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import CONFLICT, FORBIDDEN, NOT_FOUND, ApiClient, ApiError
from trainmaster.adapters.tls import CertificateContext
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.ports.clock import Clock

logger = logging.getLogger(__name__)

Json = dict[str, Any]

FIELDS: Final = {
    "ca_cert": "ca.crt",
    "ca_key": "ca.key",
    "next_cert": "next-ca.crt",
    "next_key": "next-ca.key",
    "leaf_cert": "tls.crt",
    "leaf_key": "tls.key",
}
"""Keys of the Secret, by what they hold; those of a leaf are Kubernetes' own."""
LOOK_SECONDS: Final = 60
"""How often a replica looks: nothing is due within less than weeks, but what a person changes shall not take long."""
FIRST_SECONDS: Final = 2
"""How often it looks until it has a certificate: nobody can report before."""
JITTER: Final = 0.2
WRITES: Final = 5
"""Tries of one look: each that fails means that another replica has written, and then nothing is due any more."""


class TlsSecret:
    """Certificates from a Secret, kept up to date; see `adapters.tls.ReportTls`."""

    def __init__(self, *, client: ApiClient, secret: Key, names: frozenset[str], clock: Clock) -> None:
        """`names` are what launchers call the report server by.

        `client` may write whether this replica leads or not: the first look comes before anybody can lead.
        """
        self._client = client
        self._secret = secret
        self._names = names
        self._clock = clock
        self._shown = CertificateContext()
        self._kept = Material()
        """As it was read or written last and was ours, for a Secret that is emptied."""
        self._said_emptied = False
        self._unseen = f"the Secret {secret} has not been read yet"
        self.context = self._shown.context
        self.trusted = ""
        self.ready = asyncio.Event()

    @property
    def missing(self) -> str:
        """Why there is no certificate to show yet; empty when there is one."""
        return "" if self.ready.is_set() else self._unseen

    async def watch(self) -> None:
        """Look again and again, until cancelled; what goes wrong is logged once, and the certificate kept."""
        said = ""
        while True:
            try:
                await self.look()
                said = ""
            except TrainmasterError as error:
                self._unseen = str(error)
                if str(error) != said:
                    logger.warning("report certificates: %s", error)
                said = str(error)
            pause = LOOK_SECONDS if self.ready.is_set() else FIRST_SECONDS
            await asyncio.sleep(pause * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - jitter

    async def look(self) -> None:
        """Read the Secret, do what is due, show what it holds.

        Raises:
            ApiError: The Secret cannot be read or written.
            TlsError: It is not ours; nothing of it is shown, and what was shown before stays.
        """
        for tries_left in range(WRITES - 1, -1, -1):
            stored = await self._read()
            before = material_of(stored.get("data") or {})
            after = self._due(before)
            # What is there is shown before the write: it is good for weeks when something is due, and the write may be
            # refused.
            self._show(before)
            if before != Material():
                self._kept = before
            if after == before:
                return
            try:
                await self._client.put(paths.secret(self._secret), with_material(stored, after))
            except ApiError as error:
                if error.status != CONFLICT or not tries_left:
                    raise self._explained(error) from error
                continue
            logger.info("report server: the Secret %s is brought up to date", self._secret)
            self._show(after)
            self._kept = after
            return

    def _show(self, material: Material) -> None:
        """Show a leaf that can be used, and have its authorities trusted."""
        leaf = held(material).leaf
        if leaf is None or leaf.ends <= self._clock.now():
            return
        if self._shown.use(material.leaf_cert, material.leaf_key):
            logger.info("report server: certificate until %s from the Secret %s", leaf.ends, self._secret)
        self.trusted = trusted(material)
        self.ready.set()

    def _due(self, material: Material) -> Material:
        try:
            return up_to_date(self._given_back(material), names=self._names, now=self._clock.now())
        except TlsError as error:
            message = f"the Secret {self._secret} is not used: {error}"
            raise TlsError(message) from error

    def _given_back(self, material: Material) -> Material:
        """The material; that which was kept where it was emptied."""
        if material != Material() or self._kept == Material():
            self._said_emptied = False
            return material
        if not self._said_emptied:
            logger.warning(
                "report certificates: the Secret %s was emptied: what it held is written back, since launchers trust "
                "it; to be rid of a key, stop all replicas, empty the Secret and start them again",
                self._secret,
            )
        self._said_emptied = True
        return self._kept

    async def _read(self) -> Json:
        try:
            return await self._client.get(paths.secret(self._secret))
        except ApiError as error:
            raise self._explained(error) from error

    def _explained(self, error: ApiError) -> TrainmasterError:
        """The error with the way out, where a person must step in."""
        ways = {
            NOT_FOUND: "create it without data (kubectl create secret generic, or the chart)",
            FORBIDDEN: "let the operator's service account get and update this one Secret (the chart's Role does)",
        }
        way = ways.get(error.status)
        return error if way is None else TlsError(f"{error.message}; {way}")


def material_of(data: Mapping[str, str]) -> Material:
    """What a Secret's data holds; a value that is no base64 counts as not there."""
    return Material(**{field: _decoded(data.get(key) or "") for field, key in FIELDS.items()})


def with_material(secret: Json, material: Material) -> Json:
    """The Secret with this material, all else and its resourceVersion as they are."""
    ours = {key: base64.b64encode(getattr(material, field)).decode() for field, key in FIELDS.items()}
    return secret | {"data": (secret.get("data") or {}) | ours}


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""
