"""The authority and the leaf of the report server as PEM: made, read, brought up to date.

`core.certificates` decides what is made when; here it is made. A successor is signed twice, by itself and by the
authority before it (the cross-signature), and both are kept together: whoever trusts either of the two authorities
can check a leaf of the successor.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trainmaster.api.errors import TrainmasterError
from trainmaster.core.certificates import (
    AUTHORITY_LIFE,
    LEAF_LIFE,
    Authority,
    Held,
    Leaf,
    Step,
    leaf_names,
    next_step,
)

EARLIER: Final = dt.timedelta(hours=1)
"""Certificates are valid from before now: clocks of nodes differ."""
MOST_STEPS: Final = 8
"""Of one update; four is the most that is ever needed: successor, swap, and a leaf, after a long absence."""
SHOWN_KEY_ID: Final = 8
"""Hexadecimal digits of its key's name in an authority's own name: two of one name would be hard to tell apart."""

Key = ec.EllipticCurvePrivateKey


class TlsError(TrainmasterError):
    """A certificate or its key cannot be made, kept or used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What one Secret keeps, PEM; empty for what is not there."""

    ca_cert: bytes = b""
    """The authority; behind it, where it has had a predecessor, the predecessor's signature of it."""
    ca_key: bytes = b""
    next_cert: bytes = b""
    next_key: bytes = b""
    leaf_cert: bytes = b""
    """The leaf, and behind it what a client needs that knows the predecessor only."""
    leaf_key: bytes = b""

    @property
    def is_someone_elses(self) -> bool:
        """Whether there are certificates here but no key of an authority: another program issues them."""
        certificates = self.ca_cert or self.next_cert or self.leaf_cert or self.leaf_key
        return bool(certificates) and not (self.ca_key or self.next_key)


def up_to_date(material: Material, *, names: AbstractSet[str], now: dt.datetime) -> Material:
    """The material with all that is due done; the same where nothing is.

    Raises:
        TlsError: No names are given, or the material is not ours to change (`check_ours`).
    """
    if not names:
        raise TlsError("a certificate needs at least one name that clients call the server by")
    check_ours(material)
    for _ in range(MOST_STEPS):
        state = held(material)
        step = next_step(state, names=names, now=now)
        if step is Step.NOTHING:
            return material
        material = _done(step, material, names=leaf_names(state, names=names, now=now), now=now)
    raise AssertionError("each step is followed by another one: they undo each other")


def check_ours(material: Material) -> None:
    """Nothing is made in the place of what somebody else has put there, by purpose or by mistake.

    Raises:
        TlsError: It is another program's, or an authority's key is there that cannot be used.
    """
    if material.is_someone_elses:
        raise TlsError(
            "it holds certificates, but not the key of an authority: another program issues them. Mount them and "
            "give --tls-cert and --tls-key, or name another Secret"
        )
    pairs = {"ca": (material.ca_cert, material.ca_key), "next-ca": (material.next_cert, material.next_key)}
    for name, (certificate, key) in pairs.items():
        why = _unusable(certificate, key) if key else ""
        if why:
            message = (
                f"its {name}.key {why}, and it is not overwritten. For an authority of your own issue a certificate "
                f"and give --tls-cert, --tls-key and --tls-ca, or name another Secret; if nobody needs {name}.key and "
                f"what else is there, delete the values of all six keys"
            )
            raise TlsError(message)


def trusted(material: Material) -> str:
    """The authorities that launchers shall trust, PEM: the present one, then the next one."""
    certificates = [_certificates(pem)[:1] for pem in (material.ca_cert, material.next_cert)]
    return "".join(_pem(certificate).decode() for found in certificates for certificate in found)


def held(material: Material) -> Held:
    """What of the material can be used."""
    return Held(
        authority=_authority_of(material.ca_cert, material.ca_key),
        successor=_authority_of(material.next_cert, material.next_key),
        leaf=_leaf_of(material.leaf_cert, material.leaf_key),
    )


def self_signed(names: Sequence[str], *, now: dt.datetime) -> Material:
    """A new authority and a leaf for these names, valid from `now` (UTC). Raises TlsError without names."""
    return up_to_date(Material(), names=frozenset(names), now=now)


# -- making -----------------------------------------------------------------------------------------------------------


def _done(step: Step, material: Material, *, names: AbstractSet[str], now: dt.datetime) -> Material:
    if step is Step.BEGIN:
        key = _new_key()
        return Material(ca_cert=_pem(_new_authority(key, now=now)), ca_key=_key_pem(key))
    if step is Step.MAKE_NEXT:
        return _with_successor(material, now=now)
    if step is Step.SWAP:
        return replace(material, ca_cert=material.next_cert, ca_key=material.next_key, next_cert=b"", next_key=b"")
    key = _new_key()
    issuer, *crossed = _certificates(material.ca_cert)
    leaf = _new_leaf(key, names=sorted(names), issuer=issuer, issuer_key=_key(material.ca_key), now=now)
    chain = [leaf, *(each for each in crossed if each.not_valid_after_utc > now)]
    return replace(material, leaf_cert=b"".join(map(_pem, chain)), leaf_key=_key_pem(key))


def _with_successor(material: Material, *, now: dt.datetime) -> Material:
    signer, signer_key = _certificates(material.ca_cert)[0], _key(material.ca_key)
    key = _new_key()
    own = _new_authority(key, now=now)
    crossed = _builder(
        own.subject, issuer=signer.subject, key=key.public_key(), begins=now - EARLIER, ends=signer.not_valid_after_utc
    )
    crossed = crossed.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    crossed = crossed.add_extension(_usage(signs=False), critical=True)
    crossed = crossed.add_extension(_issued_by(signer_key), critical=False)
    both = (own, crossed.sign(signer_key, hashes.SHA256()))
    return replace(material, next_cert=b"".join(map(_pem, both)), next_key=_key_pem(key))


def _new_authority(key: Key, *, now: dt.datetime) -> x509.Certificate:
    name = _name(f"trainmaster reports CA {_key_id(key.public_key())[:SHOWN_KEY_ID]}")
    builder = _builder(name, issuer=name, key=key.public_key(), begins=now - EARLIER, ends=now + AUTHORITY_LIFE)
    # One authority below it: its successor.
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    return builder.sign(key, hashes.SHA256())


def _new_leaf(
    key: Key, *, names: Sequence[str], issuer: x509.Certificate, issuer_key: Key, now: dt.datetime
) -> x509.Certificate:
    ends = min(now + LEAF_LIFE, issuer.not_valid_after_utc)
    builder = _builder(
        _name("trainmaster reports"), issuer=issuer.subject, key=key.public_key(), begins=now - EARLIER, ends=ends
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
    return builder.add_extension(_issued_by(issuer_key), critical=False).sign(issuer_key, hashes.SHA256())


def _builder(
    subject: x509.Name, *, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: dt.datetime, ends: dt.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _issued_by(key: Key) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


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


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _key_id(key: ec.EllipticCurvePublicKey) -> str:
    return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# -- reading ----------------------------------------------------------------------------------------------------------


def _authority_of(certificate: bytes, key: bytes) -> Authority | None:
    found = _pair(certificate, key)
    if found is None:
        return None
    return Authority(key_id=_key_id(found[1].public_key()), begins=_begins(found[0]), ends=found[0].not_valid_after_utc)


def _leaf_of(certificate: bytes, key: bytes) -> Leaf | None:
    found = _pair(certificate, key)
    if found is None:
        return None
    extensions = found[0].extensions
    try:
        issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    addresses = {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    return Leaf(
        issuer=issuer.hex(),
        names=frozenset({*names.get_values_for_type(x509.DNSName), *addresses}),
        begins=_begins(found[0]),
        ends=found[0].not_valid_after_utc,
    )


def _begins(certificate: x509.Certificate) -> dt.datetime:
    return certificate.not_valid_before_utc


def _pair(certificate: bytes, key: bytes) -> tuple[x509.Certificate, Key] | None:
    """The first certificate and its key, if they can be read and belong together."""
    certificates = _certificates(certificate)
    try:
        private = _key(key)
    except TlsError:
        return None
    if not certificates or certificates[0].public_key() != private.public_key():
        return None
    return certificates[0], private


def _unusable(certificate: bytes, key: bytes) -> str:
    """Why an authority's key cannot be used, to be read after its name; empty where it can."""
    try:
        _key(key)
    except TlsError as error:
        return str(error)
    return "" if _pair(certificate, key) is not None else "is not the key of the certificate beside it"


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM text; none where it is not readable."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _key(pem: bytes) -> Key:
    """A key of the kind that is made here. Raises TlsError, to be read after the key's name."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        # So says cryptography where a password is needed.
        raise TlsError("is encrypted") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsError("cannot be read") from error
    if not isinstance(key, Key):
        message = f"is a {type(key).__name__.strip('_')}, not an elliptic curve's (EC)"
        raise TlsError(message)
    return key
