"""What the operator may do: the list is enough for the whole life of a run, and what is missing is named and healed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.accounts import Account, service_account, without
from tests.support.cluster_runs import CLAIM, UserRun, fresh_namespace
from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy.proxy import fault_proxy
from tests.support.operator_process import running_operator, wait_until

FORBIDDEN = 403


@pytest.fixture
def account(plane: ControlPlane) -> Iterator[Account]:
    with fresh_namespace(plane, claim=CLAIM) as namespace, service_account(plane, namespace) as account:
        yield account


def selftest(account: Account, *flags: str) -> subprocess.CompletedProcess[str]:
    """What `trainmaster selftest --cluster` says to the account."""
    kubeconfig = account.plane.kubeconfig_for(account.token(), name=f"selftest-{account.namespace}")
    command = ["selftest", "--cluster", "--namespace", account.namespace, "--lease-namespace", account.namespace]
    return subprocess.run(
        [sys.executable, "-m", "trainmaster.cli.main", *command, *flags],
        env=os.environ | {"KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )


def where(account: Account) -> tuple[str, ...]:
    return ("--namespace", account.namespace, "--lease-namespace", account.namespace)


def test_the_permissions_that_are_listed_are_enough_for_the_life_of_a_run(account: Account, tmp_path: Path) -> None:
    account.grant()
    run = UserRun(plane=account.plane, namespace=account.namespace, name="life")
    with fault_proxy(account.plane) as proxy:
        kubeconfig = proxy.kubeconfig_for(account.token(), name="operator")
        with running_operator(kubeconfig, *where(account), folder=tmp_path) as operator:
            operator.wait_until_leading()
            run.create()
            run.until_running()
            run.edit(suspend=True)
            run.until_condition("Suspended", "True")
            run.edit(suspend=False)
            run.until_running(2)
            run.succeed()
            run.edit(rerun="again")
            run.until_running(3)
            assert operator.stop() == 0
        refused = [str(exchange) for exchange in proxy.exchanges if exchange.answered == FORBIDDEN]
        assert refused == []
        told = {exchange.request.verb for exchange in proxy.exchanges if exchange.request.resource == "events"}
        assert "create" in told


def test_selftest_names_every_missing_permission_and_prints_what_grants_them(account: Account) -> None:
    said = selftest(account)
    assert said.returncode == 1, said
    table, _, grant = said.stdout.partition("\n# ")
    failed = [line for line in table.splitlines() if " FAILED " in line]
    assert len(failed) == len(without("", "")), "every one of them"
    assert f"missing: get, list, watch, create, delete in namespace {account.namespace}" in table
    roles = [role for role in yaml.safe_load_all(f"# {grant}") if role]
    assert list(yaml.safe_load_all(selftest(account, "--rbac").stdout)) == roles
    try:
        for role in roles:
            account.plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(role))
        wait_until(lambda: selftest(account).returncode == 0, what="all permissions")
        healed = json.loads(selftest(account, "-o", "json").stdout)
        assert all(outcome["passed"] for outcome in healed)
        assert healed[1]["detail"] == account.user
    finally:
        account.plane.kubectl("delete", "clusterrole,clusterrolebinding", "trainmaster-missing")


def test_a_run_whose_job_may_not_be_created_says_so_and_goes_on_when_it_may(account: Account, tmp_path: Path) -> None:
    account.grant(without("jobs", "create"))
    run = UserRun(plane=account.plane, namespace=account.namespace, name="forbidden")
    kubeconfig = account.plane.kubeconfig_for(account.token(), name=f"operator-{account.namespace}")
    with running_operator(kubeconfig, *where(account), folder=tmp_path) as operator:
        operator.wait_until_leading()
        run.create()
        condition = run.until_condition("Stalled", "True", reason="JobRefused")
        assert 'cannot create resource "jobs" in API group "batch"' in condition["message"]
        status = run.status
        assert (status["phase"], run.condition("Ready")["status"]) == ("Pending", "False")
        assert [d["state"] for d in run.decisions("Launch")] == ["Recorded"]

        said = selftest(account)
        (failed,) = [line for line in said.stdout.splitlines() if " FAILED " in line]
        assert "permission jobs.batch" in failed
        assert f"missing: create in namespace {account.namespace}" in failed
        assert "{" not in failed, "words, no Python"

        account.grant()
        run.until_running()
        assert run.condition("Stalled") == {}
        assert operator.stop() == 0
        assert "Traceback" not in operator.told
    events = account.plane.kubectl("-n", account.namespace, "get", "events", "-o", "json").stdout
    told = [event for event in json.loads(events)["items"] if event["reason"] == "JobRefused"]
    assert [(event["type"], event["count"]) for event in told] == [("Warning", 1)]


def test_a_run_beyond_its_quota_says_so(account: Account, tmp_path: Path) -> None:
    account.grant()
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    quotas = f"/api/v1/namespaces/{account.namespace}/resourcequotas"
    answer = account.plane.request("POST", quotas, quota | {"spec": {"hard": {"count/jobs.batch": "0"}}})
    assert answer.status == 201
    wait_until(
        lambda: account.plane.request("GET", f"{quotas}/none").body["status"].get("used"), what="the quota to count"
    )
    run = UserRun(plane=account.plane, namespace=account.namespace, name="waiting")
    kubeconfig = account.plane.kubeconfig_for(account.token(), name=f"operator-{account.namespace}")
    with running_operator(kubeconfig, *where(account), folder=tmp_path) as operator:
        operator.wait_until_leading()
        run.create()
        assert "exceeded quota" in run.until_condition("Stalled", "True", reason="JobRefused")["message"]
        assert (run.status["phase"], run.status["launch"], run.jobs()) == ("Pending", 1, [])
