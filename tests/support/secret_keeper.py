"""A replica and the Secret that it keeps certificates in, and a launcher that checks what it shows."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

from tests.support.stored_secret import StoredSecret
from trainmaster.adapters.certificates import Material
from trainmaster.adapters.kubernetes.tls_secret import TlsSecret, with_material
from trainmaster.api.objects import Key

PATH = "/api/v1/namespaces/ops/secrets/report-tls"
NAMES = frozenset({"reports.ops.svc"})
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


def stored(material: Material) -> StoredSecret:
    """A Secret that holds this."""
    return StoredSecret(PATH, with_material({}, material)["data"])


def keeper(secret: StoredSecret, *, clock: Clock | None = None, names: frozenset[str] = NAMES) -> TlsSecret:
    """A replica that has not looked at it yet."""
    return TlsSecret(client=secret.client, secret=Key("ops", "report-tls"), names=names, clock=clock or Clock())


def looked(secret: StoredSecret, *, clock: Clock | None = None, names: frozenset[str] = NAMES) -> TlsSecret:
    """A replica that has."""
    replica = keeper(secret, clock=clock, names=names)
    asyncio.run(replica.look())
    return replica


async def shake(server: ssl.SSLContext, trust: str, *, name: str = "reports.ops.svc") -> bool:
    """Whether a launcher that trusts these authorities finds the server to be who it should be."""
    client = ssl.create_default_context(cadata=trust)
    client.verify_flags |= ssl.VERIFY_X509_STRICT

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True
