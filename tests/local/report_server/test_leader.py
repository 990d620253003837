"""A replica that does not lead names the one that does; launchers go there, and say their token to nobody else."""

from __future__ import annotations

from tests.local.report_server.conftest import Stage
from tests.support.launcher import wait_until
from tests.support.report_keeper import Replica
from tests.support.report_operator import SECRET_PATH
from tests.support.stored_secret import StoredSecret

LEADER, THIEF = "127.0.0.2", "127.0.0.3"
"""Addresses of the loopback that no certificate of ours is for: launchers know the operator by 127.0.0.1."""


def test_a_launcher_follows_to_the_leaders_own_address(stage: Stage) -> None:
    plan = stage.plan("followed")
    secret = StoredSecret(SECRET_PATH)
    leader = stage.operator(plan, secret=secret, address=LEADER)
    waiting = Replica(leading=False, leader_url=leader.url.removesuffix("/v1/reports"))
    other = stage.operator(plan, secret=secret, leadership=waiting)

    launcher = stage.launch(plan, url=other.url, trust=other.tls.trusted)
    for _ in range(3):
        stage.wait_for_news(leader, "followed")
    stage.gate.touch()

    stage.assert_all_arrived(leader, launcher)
    assert other.answered == [421], "it stays with the leader"
    assert other.tokens == []


def test_a_leader_that_dies_is_forgotten_and_the_next_one_found(stage: Stage) -> None:
    plan = stage.plan("orphan")
    secret = StoredSecret(SECRET_PATH)
    leader = stage.operator(plan, secret=secret, address=LEADER)
    role = Replica(leading=False, leader_url=leader.url.removesuffix("/v1/reports"))
    other = stage.operator(plan, secret=secret, leadership=role)
    launcher = stage.launch(plan, url=other.url, trust=other.tls.trusted)
    stage.wait_for_news(leader, "orphan")

    role.leading = True
    leader.stop()
    stage.wait_for_news(other, "orphan")
    stage.gate.touch()
    stage.assert_all_arrived(other, launcher)


def test_nobody_without_the_operators_key_is_told_the_token(stage: Stage) -> None:
    plan = stage.plan("lured")
    secret = StoredSecret(SECRET_PATH)
    thief = stage.operator(plan, secret=StoredSecret(SECRET_PATH), address=THIEF, names=frozenset({"127.0.0.1", THIEF}))
    role = Replica(leading=False, leader_url=thief.url.removesuffix("/v1/reports"))
    operator = stage.operator(plan, secret=secret, leadership=role)

    launcher = stage.launch(plan, url=operator.url, trust=operator.tls.trusted)
    wait_until(lambda: operator.answered.count(421) > 2, what="three tries", timeout=60)
    assert thief.tokens == []
    assert "CERTIFICATE_VERIFY_FAILED" in launcher.printed

    role.leading = True
    stage.wait_for_news(operator, "lured")
    stage.gate.touch()
    stage.assert_all_arrived(operator, launcher)
    assert thief.tokens == []
