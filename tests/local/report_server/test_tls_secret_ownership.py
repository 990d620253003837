"""What is not overwritten in the Secret of certificates, and what is written back: keys are dear to their owners."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.aged_certificates import WITH_SUCCESSOR, data_of_age
from tests.support.secret_keeper import DAY, NAMES, NOW, PATH, Clock, keeper, looked, shake, stored
from tests.support.stored_secret import StoredSecret
from trainmaster.adapters.certificates import Material, TlsError, held, up_to_date
from trainmaster.adapters.kubernetes import tls_secret
from trainmaster.adapters.kubernetes.client import ApiError
from trainmaster.adapters.kubernetes.tls_secret import TlsSecret, material_of, with_material
from trainmaster.core.certificates import AUTHORITY_LIFE, LEAF_LIFE, RENEW_LEAF


def others() -> Material:
    """What cert-manager writes: a leaf and its authority's certificate, all of it good."""
    return replace(up_to_date(Material(), names=NAMES, now=NOW), ca_key=b"")


def test_certificates_of_another_program_are_left_alone_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_secret, "FIRST_SECONDS", 0)
    secret = stored(others())
    replica = keeper(secret)

    asyncio.run(watched_for_a_while(replica))

    assert re.search(r"ops/report-tls is not used: .*another program.*--tls-cert", replica.missing)
    assert replica.trusted == ""
    assert not replica.ready.is_set()
    assert secret.writes == 0


def test_a_secret_that_becomes_another_programs_changes_nothing_that_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    secret = StoredSecret(PATH)
    replica = looked(secret)
    before = replica.trusted
    secret.change(**with_material({}, others())["data"])

    asyncio.run(watched_for_a_while(replica))

    assert "is not used" in caplog.text
    assert asyncio.run(shake(replica.context, before)), "launchers that run are still heard"
    assert replica.trusted == before


async def watched_for_a_while(replica: TlsSecret) -> None:
    watching = asyncio.create_task(replica.watch())
    for _ in range(20):
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


EMPTY = dict.fromkeys(tls_secret.FIELDS.values(), "")


def test_an_emptied_secret_gets_back_what_a_replica_has_read(caplog: pytest.LogCaptureFixture) -> None:
    secret = stored(material_of(data_of_age(NAMES, years=WITH_SUCCESSOR)))
    replica = looked(secret)
    trust, before = replica.trusted, dict(secret.data)
    secret.refuse_writes = 503
    secret.change(**EMPTY, note="a2VlcA==")

    for _ in range(2):
        with pytest.raises(ApiError):
            asyncio.run(replica.look())
    secret.refuse_writes = None
    asyncio.run(replica.look())

    assert secret.data == before | {"note": "a2VlcA=="}
    assert asyncio.run(shake(looked(secret).context, trust)), "a replica that starts now is who launchers trust"
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "ops/report-tls was emptied" in warned[0].getMessage()


def test_an_emptied_secret_is_brought_up_to_date_with_what_is_given_back() -> None:
    secret, clock = StoredSecret(PATH), Clock()
    replica = looked(secret, clock=clock)
    before = held(material_of(secret.data))
    secret.change(**EMPTY)
    clock.time += LEAF_LIFE - RENEW_LEAF + DAY

    asyncio.run(replica.look())

    after = held(material_of(secret.data))
    assert after.authority == before.authority
    assert after.leaf != before.leaf


def test_a_replica_that_has_read_nothing_makes_an_authority_of_its_own() -> None:
    secret = StoredSecret(PATH)
    trust = looked(secret).trusted
    secret.change(**EMPTY)
    assert not asyncio.run(shake(looked(secret).context, trust)), "a key that has leaked can be got rid of"


Private = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def pem_of(key: Private, *, password: bytes = b"") -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


RSA_KEY = pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))
ED25519_KEY = pem_of(ed25519.Ed25519PrivateKey.generate())
ENCRYPTED_KEY = pem_of(ec.generate_private_key(ec.SECP256R1()), password=b"secret")
OTHER_KEY = pem_of(ec.generate_private_key(ec.SECP256R1()))
UNUSABLE_KEYS = [
    (RSA_KEY, "is a RSAPrivateKey, not an elliptic curve's"),
    (ED25519_KEY, "is a Ed25519PrivateKey, not an elliptic curve's"),
    (ENCRYPTED_KEY, "is encrypted"),
    (OTHER_KEY, "is not the key of the certificate beside it"),
    (b"rubbish", "cannot be read"),
]
KINDS_OF_KEYS = ["rsa", "ed25519", "encrypted", "another", "rubbish"]


@pytest.mark.parametrize("field", ["ca_key", "next_key"])
@pytest.mark.parametrize(("key", "why"), UNUSABLE_KEYS, ids=KINDS_OF_KEYS)
def test_a_key_of_an_authority_that_cannot_be_used_is_never_overwritten(field: str, key: bytes, why: str) -> None:
    secret = stored(replace(material_of(data_of_age(NAMES, years=WITH_SUCCESSOR)), **{field: key}))
    before, replica = dict(secret.data), keeper(secret)

    with pytest.raises(
        TlsError, match=rf"ops/report-tls is not used: its {tls_secret.FIELDS[field]} {why}.*--tls-cert"
    ):
        asyncio.run(replica.look())

    assert (secret.writes, secret.data) == (0, before)


@pytest.mark.parametrize("certificate", [b"", b"rubbish"])
def test_a_key_whose_certificate_is_lost_is_never_overwritten(certificate: bytes) -> None:
    secret = stored(replace(up_to_date(Material(), names=NAMES, now=NOW), ca_cert=certificate))
    with pytest.raises(TlsError, match=r"ca\.key is not the key of the certificate beside it.*delete the values"):
        asyncio.run(keeper(secret).look())
    assert secret.writes == 0


def test_a_certificate_of_a_next_authority_alone_is_another_programs() -> None:
    secret = stored(Material(next_cert=up_to_date(Material(), names=NAMES, now=NOW).ca_cert))
    with pytest.raises(TlsError, match="another program"):
        asyncio.run(keeper(secret).look())
    assert secret.writes == 0


def test_an_authority_of_ours_that_has_ended_is_replaced() -> None:
    ended = up_to_date(Material(), names=NAMES, now=NOW - AUTHORITY_LIFE - DAY)
    secret = stored(ended)
    replica = looked(secret)
    assert held(material_of(secret.data)).authority != held(ended).authority
    assert asyncio.run(shake(replica.context, replica.trusted))


@pytest.mark.parametrize("field", ["leaf_cert", "leaf_key"])
@pytest.mark.parametrize("damage", [b"", b"rubbish", RSA_KEY], ids=["none", "rubbish", "rsa"])
def test_a_damaged_leaf_is_mended(field: str, damage: bytes) -> None:
    whole = up_to_date(Material(), names=NAMES, now=NOW)
    secret = stored(replace(whole, **{field: damage}))

    replica = looked(secret)

    assert asyncio.run(shake(replica.context, replica.trusted))
    assert held(material_of(secret.data)).authority == held(whole).authority
