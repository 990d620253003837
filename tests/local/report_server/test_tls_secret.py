"""The Secret that operators keep certificates in: who fills it, who keeps it fresh, and what is left alone."""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.aged_certificates import WITH_SUCCESSOR, data_of_age, swap_due
from tests.support.stored_secret import StoredSecret
from trainmaster.adapters.certificates import Material, TlsError, held, trusted, up_to_date
from trainmaster.adapters.kubernetes import tls_secret
from trainmaster.adapters.kubernetes.client import ApiError
from trainmaster.adapters.kubernetes.tls_secret import TlsSecret, material_of, with_material
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.core.certificates import AUTHORITY_LIFE, HANDED_OUT, LEAF_LIFE, MAKE_NEXT, RENEW_LEAF, SWAP

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
    return StoredSecret(PATH, with_material({}, material)["data"])


def keeper(secret: StoredSecret, *, clock: Clock | None = None, names: frozenset[str] = NAMES) -> TlsSecret:
    return TlsSecret(client=secret.client, secret=Key("ops", "report-tls"), names=names, clock=clock or Clock())


def looked(secret: StoredSecret, *, clock: Clock | None = None, names: frozenset[str] = NAMES) -> TlsSecret:
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


def test_an_empty_secret_is_filled_and_the_rest_of_it_left_alone() -> None:
    secret = StoredSecret(PATH, {"note": "a2VlcA=="})
    replica = keeper(secret)
    assert "not been read" in replica.missing

    asyncio.run(replica.look())

    assert replica.missing == ""
    assert asyncio.run(shake(replica.context, replica.trusted))
    assert set(secret.data) == {"note", *tls_secret.FIELDS.values()}
    assert secret.data["note"] == "a2VlcA=="
    assert secret.metadata["labels"] == {"app": "trainmaster"}
    assert secret.data["next-ca.crt"] == ""


def test_two_replicas_that_fill_it_at_once_agree_on_one_authority() -> None:
    secret = StoredSecret(PATH)
    replicas = [keeper(secret) for _ in range(5)]

    async def race() -> None:
        await asyncio.gather(*(replica.look() for replica in replicas))

    asyncio.run(race())

    assert secret.writes == 1
    assert len({replica.trusted for replica in replicas}) == 1
    assert all(asyncio.run(shake(one.context, replicas[0].trusted)) for one in replicas)


def test_a_replica_that_only_reads_shows_what_another_wrote() -> None:
    secret, clock = StoredSecret(PATH), Clock()
    first, second = keeper(secret, clock=clock), keeper(secret, clock=clock)
    asyncio.run(first.look())
    asyncio.run(second.look())
    assert secret.writes == 1

    clock.time += LEAF_LIFE - RENEW_LEAF + DAY
    asyncio.run(first.look())
    before = second.context
    asyncio.run(second.look())

    assert secret.writes == 2
    assert second.context is before, "open connections keep what they have, and the server its context"
    assert second.trusted == first.trusted, "a new leaf is no new authority"


def test_the_next_authority_is_trusted_long_before_it_signs_and_the_old_one_long_after() -> None:
    born = NOW - AUTHORITY_LIFE + MAKE_NEXT
    alone = up_to_date(Material(), names=NAMES, now=born - DAY)
    both = up_to_date(alone, names=NAMES, now=NOW)
    assert trusted(both).startswith(trusted(alone))
    assert trusted(both).count("BEGIN CERTIFICATE") == 2
    assert held(both).authority == held(alone).authority, "it is the old one that signs"

    swapped = replace(both, ca_cert=both.next_cert, ca_key=both.next_key, next_cert=b"", next_key=b"")
    replica = looked(stored(swapped))

    assert asyncio.run(shake(replica.context, trusted(swapped))), "one that knows the new authority alone"
    assert asyncio.run(shake(replica.context, trusted(alone))), "one that knows the old authority alone"
    assert asyncio.run(shake(replica.context, trusted(both)))
    assert not asyncio.run(shake(replica.context, trusted(up_to_date(Material(), names=NAMES, now=NOW))))


def test_the_swap_comes_by_itself_when_its_time_has_come() -> None:
    born = NOW - AUTHORITY_LIFE + SWAP - DAY
    early = up_to_date(Material(), names=NAMES, now=born)
    waiting = up_to_date(early, names=NAMES, now=NOW - HANDED_OUT - DAY)
    secret = stored(waiting)
    old = held(waiting)

    replica = looked(secret)

    new = held(material_of(secret.data))
    assert old.successor is not None
    assert new.authority == old.successor
    assert new.successor is None
    assert asyncio.run(shake(replica.context, trusted(early))), "with the old authority's signature behind the leaf"


def test_what_is_there_is_shown_though_nothing_can_be_written() -> None:
    due = up_to_date(Material(), names=NAMES, now=NOW - LEAF_LIFE + RENEW_LEAF - DAY)
    secret = stored(due)
    secret.refuse_writes = 503
    replica = keeper(secret)

    with pytest.raises(ApiError):
        asyncio.run(replica.look())

    assert replica.missing == ""
    assert asyncio.run(shake(replica.context, replica.trusted))


@pytest.mark.parametrize(
    ("status", "way_out"), [(404, "create it without data"), (403, "let the operator's service account get and update")]
)
def test_what_a_person_must_mend_is_said_with_the_way_out(status: int, way_out: str) -> None:
    secret = StoredSecret(PATH)
    secret.refuse = status
    with pytest.raises(TrainmasterError, match=way_out):
        asyncio.run(keeper(secret).look())


def test_certificates_of_another_program_are_left_alone() -> None:
    other = replace(up_to_date(Material(), names=NAMES, now=NOW), ca_key=b"")
    secret = stored(other)
    with pytest.raises(TlsError, match=r"ops/report-tls is not used: .*another program.*--tls-cert"):
        asyncio.run(keeper(secret).look())
    assert secret.writes == 0


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


def test_a_value_that_is_no_base64_counts_as_not_there() -> None:
    secret = StoredSecret(PATH, {"ca.crt": "?", "ca.key": "?"})
    assert asyncio.run(shake(looked(secret).context, trusted(material_of(secret.data))))


def test_replicas_with_two_names_for_the_server_share_a_leaf() -> None:
    secret = StoredSecret(PATH)
    looked(secret)
    other = looked(secret, names=frozenset({"10.0.0.1"}))
    writes = secret.writes
    first = looked(secret)
    assert secret.writes == writes == 2
    for name in ("reports.ops.svc", "10.0.0.1"):
        assert asyncio.run(shake(first.context, other.trusted, name=name))


def test_a_leaf_ends_no_later_than_its_authority() -> None:
    last = up_to_date(Material(), names=NAMES, now=NOW - AUTHORITY_LIFE + LEAF_LIFE - DAY)
    state = held(up_to_date(replace(last, leaf_cert=b""), names=NAMES, now=NOW))
    assert state.leaf is not None
    assert state.authority is not None
    assert state.leaf.ends <= state.authority.ends


def test_watching_says_once_what_is_wrong_and_goes_on_when_it_is_mended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls_secret, "FIRST_SECONDS", 0)
    monkeypatch.setattr(tls_secret, "LOOK_SECONDS", 0)
    secret = StoredSecret(PATH)
    secret.refuse = 404
    replica = keeper(secret)

    async def tell() -> None:
        watching = asyncio.create_task(replica.watch())
        for _ in range(20):
            await asyncio.sleep(0)
        assert "create it without data" in replica.missing
        secret.refuse = None
        async with asyncio.timeout(30):
            await replica.ready.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(tell())
    assert caplog.text.count("create it without data") == 1
    assert replica.missing == ""


def test_an_authority_may_sign_its_successor_and_nothing_else_below() -> None:
    made = up_to_date(Material(), names=NAMES, now=NOW - AUTHORITY_LIFE + MAKE_NEXT - DAY)
    made = up_to_date(made, names=NAMES, now=NOW)
    own, crossed = x509.load_pem_x509_certificates(made.next_cert)
    first = x509.load_pem_x509_certificate(made.ca_cert)
    lengths = [
        each.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        for each in (first, own, crossed)
    ]
    assert lengths == [1, 1, 0]
    assert own.public_key() == crossed.public_key()
    assert crossed.not_valid_after_utc == first.not_valid_after_utc


@pytest.mark.parametrize(
    ("years", "has_successor", "swaps"), [(0, False, 0), (5.9, False, 0), (6.5, True, 0), (7.5, False, 1)]
)
def test_what_years_make_of_a_secret(years: float, *, has_successor: bool, swaps: int) -> None:
    data = data_of_age(NAMES, years=years)
    secret = StoredSecret(PATH, data)
    replica = looked(secret)
    assert secret.writes == 0, "nothing is due"
    assert (data["next-ca.crt"] != "") == has_successor
    assert base64.b64decode(data["tls.crt"]).count(b"BEGIN") == 1 + swaps, "the leaf, and the old authority's signature"
    assert asyncio.run(shake(replica.context, replica.trusted))


def test_a_swap_under_a_running_operator_is_found_at_its_next_look() -> None:
    before = data_of_age(NAMES, years=WITH_SUCCESSOR)
    secret = StoredSecret(PATH, before)
    replica = looked(secret)
    old = trusted(replace(material_of(before), next_cert=b""))
    secret.change(**swap_due(before))
    asyncio.run(replica.look())
    assert secret.writes == 1
    assert replica.trusted not in old
    assert asyncio.run(shake(replica.context, old)), "who knows the old authority alone"
