"""TLS of the report server: certificates from files, reloaded when they change, and a self-signed pair to begin with.

The kubelet replaces a mounted Secret while the operator runs, so the files are looked at again and again; the context
stays the same object, connections that are open keep the certificate that they began with, new ones get the new one.

`self_signed` makes an authority and one leaf. Who keeps them (one Secret), renews the leaf before it ends and hands
out the next authority in replies is not here yet: that comes with the chart.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import ipaddress
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trainmaster.api.errors import TrainmasterError

logger = logging.getLogger(__name__)

AUTHORITY_DAYS: Final = 3650
"""Ten years: launchers trust it from a Job's environment, which never changes, for as long as a run may live."""
LEAF_DAYS: Final = 90
"""A key that leaked is worth little after a quarter; renewal is exercised often enough to be known to work."""
EARLIER: Final = dt.timedelta(hours=1)
"""Certificates are valid from before now: clocks of nodes differ."""
RELOAD_SECONDS: Final = 10
"""How often the files are looked at; the kubelet itself takes up to a minute to bring a new Secret."""


class TlsError(TrainmasterError):
    """A certificate or its key cannot be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfSigned:
    """An authority and a leaf that it signed, as PEM.

    The authority's key is thrown away: the next leaf needs a next authority, until one Secret keeps both.
    """

    ca_pem: bytes
    cert_pem: bytes
    key_pem: bytes


class ServerTls:
    """The server's context over a certificate file (leaf first, then its chain) and a key file."""

    def __init__(self, *, certificate: Path, key: Path) -> None:
        """Loads the files. Raises TlsError when they cannot be read or do not belong together."""
        self._certificate = certificate
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """For `create_server`; TLS 1.2 or newer."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._loaded = ""
        self.reload()

    def reload(self) -> bool:
        """Load the files if their content has changed; whether it had. Raises TlsError: the old ones stay in use."""
        try:
            found = hashlib.sha256(self._certificate.read_bytes() + b"\0" + self._key.read_bytes()).hexdigest()
            if found == self._loaded:
                return False
            # The pair is tried on another context: one that does not fit must not leave half of it in the real one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            message = f"{self._certificate} and {self._key} are no certificate and its key: {error}"
            raise TlsError(message) from error
        self._loaded = found
        return True

    async def watch(self) -> None:
        """Reload whenever the files change, until cancelled; a pair that does not fit is logged, the old one kept."""
        said = ""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                if self.reload():
                    logger.info("report server: new certificate from %s", self._certificate)
                said = ""
            except TlsError as error:
                if str(error) != said:
                    logger.warning("report server goes on with the old certificate: %s", error)
                said = str(error)


def self_signed(names: Sequence[str], *, now: dt.datetime) -> SelfSigned:
    """An authority of ten years and a leaf of 90 days for these DNS names and addresses, valid from `now` (UTC)."""
    ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _authority(ca_key, now)
    leaf = _leaf(leaf_key, names=names, ca=ca, ca_key=ca_key, now=now)
    key_pem = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return SelfSigned(ca_pem=ca.public_bytes(pem), cert_pem=leaf.public_bytes(pem), key_pem=key_pem)


def _authority(key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trainmaster reports CA")])
    builder = _builder(name, issuer=name, key=key.public_key(), now=now, days=AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    return builder.sign(key, hashes.SHA256())


def _leaf(
    key: ec.EllipticCurvePrivateKey,
    *,
    names: Sequence[str],
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> x509.Certificate:
    if not names:
        raise TlsError("a certificate needs at least one name that clients call the server by")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trainmaster reports")])
    builder = _builder(name, issuer=ca.subject, key=key.public_key(), now=now, days=LEAF_DAYS)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
    return builder.add_extension(authority, critical=False).sign(ca_key, hashes.SHA256())


def _builder(
    subject: x509.Name, *, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - EARLIER).not_valid_after(now + dt.timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, signs: bool) -> x509.KeyUsage:
    """What a key is for: a leaf signs handshakes, an authority signs certificates."""
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=not signs,
        crl_sign=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
