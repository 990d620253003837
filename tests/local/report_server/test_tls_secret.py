"""The Secret that operators keep certificates in: who fills it, who keeps it fresh, and what is left alone."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace

import pytest
from cryptography import x509

from tests.support.aged_certificates import WITH_SUCCESSOR, data_of_age, swap_due
from tests.support.secret_keeper import DAY, NAMES, NOW, PATH, Clock, keeper, looked, shake, stored
from tests.support.stored_secret import StoredSecret
from trainmaster.adapters.certificates import Material, held, trusted, up_to_date
from trainmaster.adapters.kubernetes import tls_secret
from trainmaster.adapters.kubernetes.client import ApiError
from trainmaster.adapters.kubernetes.tls_secret import material_of
from trainmaster.api.errors import TrainmasterError
from trainmaster.core.certificates import AUTHORITY_LIFE, HANDED_OUT, LEAF_LIFE, MAKE_NEXT, RENEW_LEAF, SWAP


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
