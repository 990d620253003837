"""What a newcomer sees of an operator that has begun wrongly: its log and /readyz say why, and it heals by itself."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.accounts import service_account, without
from tests.support.cluster_runs import fresh_namespace
from tests.support.control_plane import ControlPlane
from tests.support.operator_process import running_operator, wait_until

NAMESPACES = "/api/v1/namespaces"
LEADING = "leader_election_master_status"


@contextmanager
def made(plane: ControlPlane, *names: str) -> Iterator[None]:
    """Namespaces for as long as the block takes."""
    for name in names:
        assert plane.request("POST", NAMESPACES, {"metadata": {"name": name}}).status == 201
    try:
        yield
    finally:
        for name in names:
            assert plane.request("DELETE", f"{NAMESPACES}/{name}").status in {200, 202}


def test_namespaces_that_do_not_exist_are_named_and_waited_for(plane: ControlPlane, tmp_path: Path) -> None:
    own, served = (f"test-{secrets.token_hex(4)}" for _ in range(2))
    with running_operator(
        plane.kubeconfig, "--namespace", served, "--lease-namespace", own, folder=tmp_path
    ) as operator:
        wait_until(lambda: f"namespace {own} does not exist" in operator.told, what=f"clear words in {operator.log}")
        wait_until(lambda: f"namespace {served} does not exist" in operator.told, what="the same of the served one")
        status, why = operator.get("/readyz")
        assert status == 503, why
        assert f"namespace {own} does not exist" in why
        assert f"warning: namespace {served} does not exist" in why
        with made(plane, own, served):
            operator.wait_until_leading()
            wait_until(lambda: operator.get("/readyz")[0] == 200, what="a ready operator")
            assert operator.told.count(f"namespace {own} does not exist") == 1
            assert operator.told.count(f"namespace {served} does not exist") == 1
            assert operator.stop() == 0
        begins = next(line for line in operator.told.splitlines() if " begins as " in line)
        for word in (plane.url, served, "trainer:test", operator.report_url, operator.health_url):
            assert word in begins


def test_two_installations_in_one_namespace_both_act(plane: ControlPlane, tmp_path: Path) -> None:
    with fresh_namespace(plane) as own, fresh_namespace(plane) as one, fresh_namespace(plane) as other:
        flags = {
            name: ("--namespace", served, "--lease-namespace", own, "--lease-name", name)
            for name, served in (("first", one), ("second", other))
        }
        with (
            running_operator(plane.kubeconfig, *flags["first"], folder=tmp_path) as first,
            running_operator(plane.kubeconfig, *flags["second"], folder=tmp_path) as second,
        ):
            first.wait_until_leading()
            second.wait_until_leading()
            leases = plane.kubectl("-n", own, "get", "leases", "-o", "name").stdout.split()

            assert first.metric(LEADING) == 1, "the second has not taken its Lease"
            assert leases == ["lease.coordination.k8s.io/first", "lease.coordination.k8s.io/second"]


def test_a_leader_whose_role_is_removed_acts_no_more_says_so_and_goes_on_when_it_may(
    plane: ControlPlane, tmp_path: Path
) -> None:
    with fresh_namespace(plane) as namespace, service_account(plane, namespace) as account:
        account.grant()
        kubeconfig = plane.kubeconfig_for(account.token(), name=f"operator-{namespace}")
        flags = ("--namespace", namespace, "--lease-namespace", namespace)
        with running_operator(kubeconfig, *flags, folder=tmp_path) as operator:
            operator.wait_until_leading()
            account.grant(without("leases", "get"))
            wait_until(lambda: operator.metric(LEADING) == 0, what="a leader that leads no more")
            status, why = operator.get("/readyz")
            assert status == 503, why
            assert f"the Lease {namespace}/trainmaster: " in why
            assert "nothing is written until it can be had" in why
            assert operator.get("/healthz")[0] == 200, "a new process would fare no better"
            assert operator.told.count("nothing is written until it can be had") == 1

            account.grant()
            operator.wait_until_leading()
            wait_until(lambda: operator.get("/readyz")[0] == 200, what="a ready operator")
            assert operator.stop() == 0
