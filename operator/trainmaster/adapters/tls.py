"""TLS of the report server: one context for as long as the process lives, whose certificate can be replaced.

Connections that are open keep the certificate that they began with, new ones get the new one: nothing is cut off.
Where certificates come from is another's business: files that somebody else writes (`ServerTls` here, cert-manager's
Secret mounted), or a Secret that the operators keep themselves (`adapters.kubernetes.tls_secret`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from trainmaster.adapters.certificates import TlsError
from trainmaster.adapters.reloading import keep_reloading

RELOAD_SECONDS: Final = 10
"""How often the files are looked at; the kubelet itself takes up to a minute to bring a new Secret."""


class ReportTls(Protocol):
    """What the report server shows, and what launchers are told to trust."""

    @property
    def context(self) -> ssl.SSLContext:
        """For `create_server`."""

    @property
    def trusted(self) -> str:
        """PEM of the authorities that launchers shall trust; empty: what their image trusts."""

    @property
    def missing(self) -> str:
        """Why there is no certificate to show yet; empty when there is one."""

    @property
    def ready(self) -> asyncio.Event:
        """Set once there is one."""

    async def watch(self) -> None:
        """Take new certificates as they come, until cancelled."""


class CertificateContext:
    """A server's context, without a certificate at first."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """For `create_server`; TLS 1.2 or newer. Without a certificate each handshake fails."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._used = ""

    def use(self, certificate: bytes, key: bytes) -> bool:
        """Show this certificate (PEM, leaf first) from now on; whether it is another one than before.

        Raises:
            TlsError: It is none, or the key is not its key; the one before stays in use.
        """
        digest = hashlib.sha256(certificate + b"\0" + key).hexdigest()
        if digest == self._used:
            return False
        try:
            with _as_file(certificate + b"\n" + key) as path:
                # Tried on another context: a pair that does not fit must not leave half of it in the real one.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
                self.context.load_cert_chain(path)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(str(error)) from error
        self._used = digest
        return True


class ServerTls:
    """A context over a certificate file (leaf first, then its chain) and a key file, and perhaps its authorities'."""

    def __init__(self, *, certificate: Path, key: Path, authorities: Path | None = None) -> None:
        """Loads the files. Raises TlsError when they cannot be read or do not belong together."""
        self._certificate = certificate
        self._key = key
        self._authorities = authorities
        self._shown = CertificateContext()
        self.context = self._shown.context
        self.trusted = ""
        self.missing = ""
        self.ready = asyncio.Event()
        self.ready.set()
        self.reload()

    def reload(self) -> bool:
        """Load the files if their content has changed; whether it had. Raises TlsError: the old ones stay in use."""
        try:
            trusted = self._authorities.read_text(encoding="ascii") if self._authorities is not None else ""
            if trusted:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=trusted)
            changed = self._shown.use(self._certificate.read_bytes(), self._key.read_bytes())
        except (OSError, ValueError, ssl.SSLError, TlsError) as error:
            files = f"--tls-cert {self._certificate} and --tls-key {self._key} are no certificate and its key"
            behind = "" if self._authorities is None else f", or --tls-ca {self._authorities} holds no authorities"
            # An ssl.SSLError is an OSError without a file.
            why = str(error)
            if isinstance(error, OSError) and error.filename:
                why = f"{error.filename}: {error.strerror}"
            message = f"{files}{behind}: {why}"
            raise TlsError(message) from error
        changed |= trusted != self.trusted
        self.trusted = trusted
        return changed

    async def watch(self) -> None:
        """Reload whenever the files change, until cancelled; a pair that does not fit is logged, the old one kept."""
        await keep_reloading(
            self.reload,
            seconds=RELOAD_SECONDS,
            changed=f"report server: new certificate from {self._certificate}",
            kept="report server goes on with the old certificate",
        )


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """The path of a file that is in memory only: OpenSSL reads keys from files, and no disk shall hold one."""
    descriptor = os.memfd_create("trainmaster-tls")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
