"""Which authorities a launcher trusts: given, learned, kept; and what it makes of rubbish."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.launcher import plan_wire
from trainmaster.adapters.certificates import Material, trusted, up_to_date
from trainmaster_launcher.errors import ConfigurationError
from trainmaster_launcher.responses import Failed, Taken, read_response
from trainmaster_launcher.settings import read_settings
from trainmaster_launcher.trust import MAX_TRUST_BYTES, TRUST_FILE, Trust


def authority() -> str:
    return trusted(up_to_date(Material(), names=frozenset({"x"}), now=datetime.now(UTC)))


GIVEN, NEXT, OTHER = authority(), authority(), authority()
RUBBISH = ["", "rubbish", GIVEN[:200], "\0", "\u00e9", GIVEN * (MAX_TRUST_BYTES // len(GIVEN) + 1)]


def known(trust: Trust) -> set[str]:
    return {ssl.DER_cert_to_PEM_cert(each) for each in trust.context().get_ca_certs(binary_form=True)}


def test_what_was_given_stays_and_the_newest_news_is_added() -> None:
    trust = Trust(given=GIVEN)
    assert (known(trust), trust.digest) == ({GIVEN}, None)

    assert trust.learn(GIVEN + NEXT)
    assert known(trust) == {GIVEN, NEXT}
    assert trust.learn(OTHER)
    assert known(trust) == {GIVEN, OTHER}
    assert not trust.learn(OTHER), "no news"
    assert trust.context().check_hostname


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_rubbish_changes_nothing(rubbish: str) -> None:
    trust = Trust(given=GIVEN)
    trust.learn(NEXT)
    digest = trust.digest
    assert not trust.learn(rubbish)
    assert (known(trust), trust.digest) == ({GIVEN, NEXT}, digest)


def test_what_launches_have_kept_is_known_again(tmp_path: Path) -> None:
    for launch, pem in (("1", NEXT), ("2", "rubbish"), ("3", OTHER)):
        (tmp_path / launch).mkdir()
        (tmp_path / launch / TRUST_FILE).write_text(pem)
    trust = Trust(given=GIVEN)
    trust.recall(tmp_path)
    assert known(trust) == {GIVEN, NEXT, OTHER}


def test_it_is_kept_once_and_whole(tmp_path: Path) -> None:
    trust = Trust(given=GIVEN)
    trust.keep(tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing was learned"
    trust.learn(NEXT)
    trust.keep(tmp_path)
    path = tmp_path / TRUST_FILE
    assert path.read_text() == NEXT
    path.unlink()
    trust.keep(tmp_path)
    assert not path.exists()


def test_storage_that_fails_is_said_and_no_more(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trust = Trust(given=GIVEN)
    trust.learn(NEXT)
    trust.keep(tmp_path / "missing")
    trust.recall(tmp_path / "missing")
    told = capfd.readouterr()
    assert "cannot be kept" in told.out + told.err
    assert "cannot be read" in told.out + told.err
    assert known(trust) == {GIVEN, NEXT}


def test_a_launcher_that_is_given_rubbish_says_so(tmp_path: Path) -> None:
    environment = {
        "TRAINMASTER_PLAN": json.dumps(plan_wire(tmp_path, command=["true"])),
        "TRAINMASTER_REPORT_URL": "https://operator/v1/reports",
    }
    assert read_settings(environment | {"TRAINMASTER_CA_PEM": GIVEN}).ca_pem == GIVEN
    with pytest.raises(ConfigurationError, match="TRAINMASTER_CA_PEM holds no certificates"):
        read_settings(environment | {"TRAINMASTER_CA_PEM": "rubbish"})


@pytest.mark.parametrize(("trust", "read"), [({}, ""), ({"trust": None}, ""), ({"trust": NEXT}, NEXT)])
def test_a_reply_may_bring_authorities(trust: dict[str, object], read: str) -> None:
    body = json.dumps({"haveSeq": 0, "plan": {}} | trust).encode()
    response = read_response(200, body=body)
    assert not isinstance(response, Failed)
    assert isinstance(response, Taken)
    assert response.trust == read
