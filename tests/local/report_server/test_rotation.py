"""Leaf and authority are replaced while real launchers report over TLS: no report is lost, nobody is locked out.

The clock is the real one, since OpenSSL has no other; what is due is made due by turning the periods.
"""

from __future__ import annotations

import base64
import signal

import pytest

from tests.local.report_server.conftest import Stage
from tests.support.launcher import wait_until
from tests.support.report_operator import SECRET_PATH, ReportOperator
from tests.support.stored_secret import StoredSecret
from trainmaster.adapters.certificates import held, trusted
from trainmaster.adapters.kubernetes.tls_secret import material_of
from trainmaster.core import certificates
from trainmaster.core.certificates import AUTHORITY_LIFE, HANDED_OUT

CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def renew_leaf(secret: StoredSecret, operator: ReportOperator) -> None:
    """Two months pass; a leaf that is not there is made anew as an old one is."""
    before = secret.data["tls.crt"]
    secret.change(**{"tls.crt": ""})
    operator.look()
    assert secret.data["tls.crt"] not in {"", before}


def make_successor(secret: StoredSecret, operator: ReportOperator) -> None:
    """Six years pass."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "MAKE_NEXT", 2 * AUTHORITY_LIFE)
        operator.look()
    assert secret.data["next-ca.crt"]


def swap(secret: StoredSecret, operator: ReportOperator) -> None:
    """Another one passes: the successor takes over."""
    successor = held(material_of(secret.data)).successor
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "SWAP", 2 * AUTHORITY_LIFE)
        patch.setattr(certificates, "HANDED_OUT", -HANDED_OUT)
        operator.look()
    assert held(material_of(secret.data)).authority == successor


def restart(operator: ReportOperator) -> None:
    """A new process: no connection lives on, each launcher must agree on TLS anew."""
    operator.stop()
    operator.start()


def test_leaf_and_authority_are_replaced_and_no_report_is_lost(stage: Stage) -> None:
    talking, silent, late = (stage.plan(name) for name in ("talking", "silent", "late"))
    secret = StoredSecret(SECRET_PATH)
    operator = stage.operator(talking, silent, late, secret=secret)
    old = operator.tls.trusted
    talker = stage.launch(talking, url=operator.url, trust=old)
    sleeper = stage.launch(silent, url=operator.url, trust=old)
    for uid in ("talking", "silent"):
        stage.wait_for_news(operator, uid)
    sleeper.signal(signal.SIGSTOP)

    renew_leaf(secret, operator)
    restart(operator)
    stage.wait_for_news(operator, "talking")

    make_successor(secret, operator)
    kept = talker.folder / "authorities.pem"
    wait_until(lambda: kept.exists() and kept.read_text().count(CERTIFICATE) == 2, what="two authorities", timeout=60)
    swap(secret, operator)
    restart(operator)
    stage.wait_for_news(operator, "talking")
    renew_leaf(secret, operator)
    restart(operator)
    stage.wait_for_news(operator, "talking")

    sleeper.signal(signal.SIGCONT)
    comer = stage.launch(late, url=operator.url, trust=old)
    for uid in ("silent", "late"):
        stage.wait_for_news(operator, uid)
    stage.gate.touch()
    for launcher in (talker, sleeper, comer):
        stage.assert_all_arrived(operator, launcher)
    assert CERTIFICATE in old
    assert old not in operator.tls.trusted


def test_who_was_told_needs_no_signature_of_the_old_authority_and_a_new_start_has_not_forgotten(stage: Stage) -> None:
    plan = stage.plan("told")
    secret = StoredSecret(SECRET_PATH)
    operator = stage.operator(plan, secret=secret)
    old = operator.tls.trusted
    first = stage.launch(plan, url=operator.url, trust=old)
    stage.wait_for_news(operator, "told")
    make_successor(secret, operator)
    kept = first.folder / "authorities.pem"
    wait_until(lambda: kept.exists() and kept.read_text() == operator.tls.trusted, what="news of trust", timeout=60)

    swap(secret, operator)
    leaf, _ = base64.b64decode(secret.data["tls.crt"]).decode().split(CERTIFICATE)[1:]
    secret.change(**{"tls.crt": base64.b64encode((CERTIFICATE + leaf).encode()).decode()})
    restart(operator)
    stage.wait_for_news(operator, "told")

    first.signal(signal.SIGKILL)
    first.wait()
    second = stage.launch(plan, url=operator.url, trust=old)
    stage.wait_for_news(operator, "told")
    assert trusted(material_of(secret.data)) not in old
    stage.gate.touch()
    assert second.wait(60) == 0, second.printed


def test_a_reply_brings_the_authorities_once(stage: Stage) -> None:
    plan = stage.plan("once")
    secret = StoredSecret(SECRET_PATH)
    operator = stage.operator(plan, secret=secret)
    launcher = stage.launch(plan, url=operator.url, trust=operator.tls.trusted)
    for _ in range(3):
        stage.wait_for_news(operator, "once")
    stage.gate.touch()
    stage.assert_all_arrived(operator, launcher)
    assert launcher.printed.count("brought the operator's authorities") == 1
