"""Bad days of a cluster: an API server that is away, full or refuses us, and operators that are killed or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.accounts import service_account, without
from tests.support.cluster_runs import CLAIM, JOBS, UserRun, fresh_namespace
from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy.faults import Answer, CutWatches, ServerAway
from tests.support.fault_proxy.proxy import FaultProxy, fault_proxy
from tests.support.fault_proxy.requests import WRITING, Match
from tests.support.operator_process import Operator, running_operator, wait_until

LEADING = "leader_election_master_status"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/trainmaster"
ALL_BUT_LEASES = Match(where=lambda request: request.verb in WRITING and request.resource != "leases")


@pytest.fixture
def arena(plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(plane, claim=CLAIM) as name:
        yield name


@pytest.fixture
def proxy(plane: ControlPlane) -> Iterator[FaultProxy]:
    with fault_proxy(plane) as proxy:
        yield proxy


def where(arena: str) -> tuple[str, ...]:
    return ("--namespace", arena, "--lease-namespace", arena)


def holder(plane: ControlPlane, arena: str) -> str:
    name: str = plane.request("GET", LEASE.format(arena)).body["spec"]["holderIdentity"]
    return name


def new_run(plane: ControlPlane, arena: str, name: str) -> UserRun:
    run = UserRun(plane=plane, namespace=arena, name=name)
    run.create()
    return run


# -- the API server ---------------------------------------------------------------------------------------------------


def test_an_api_server_that_was_away_finds_the_operator_as_it_left_it(
    plane: ControlPlane, arena: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    with running_operator(proxy.kubeconfig, *where(arena), folder=tmp_path) as operator:
        operator.wait_until_leading()
        before = new_run(plane, arena, "before")
        before.until_running()
        away = proxy.install(ServerAway())
        meanwhile = new_run(plane, arena, "meanwhile")
        before.end(0, outcome="Completed")
        wait_until(lambda: operator.metric(LEADING) == 0, what="an operator that knows that it may not act")
        assert operator.get("/healthz")[0] == 200
        assert meanwhile.status.get("phase") is None
        away.remove()
        before.until_condition("Succeeded", "True")
        meanwhile.until_running()
        assert (len(before.jobs()), len(meanwhile.jobs())) == (1, 1)
        assert operator.process.poll() is None, "an outage restarts nobody"
        assert operator.stop() == 0
        assert "Traceback" not in operator.told


def test_an_operator_ends_in_good_order_while_the_api_server_is_away(
    arena: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    with running_operator(proxy.kubeconfig, *where(arena), folder=tmp_path) as operator:
        operator.wait_until_leading()
        proxy.install(ServerAway())
        assert operator.stop() == 0
        assert "Traceback" not in operator.told


def test_while_etcd_is_full_nothing_false_is_said_and_then_all_goes_on(
    plane: ControlPlane, arena: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    with running_operator(proxy.kubeconfig, *where(arena), folder=tmp_path) as operator:
        operator.wait_until_leading()
        running = new_run(plane, arena, "running")
        running.until_running()
        said = "etcdserver: mvcc: database space exceeded"
        full = proxy.install(Answer(match=ALL_BUT_LEASES, status=500, message=said, times=None))
        new = new_run(plane, arena, "new")
        full.wait(2)
        running.end(137)
        full.wait(4)
        assert new.status.get("launch") is None
        assert (running.status["phase"], running.status["crashes"], len(running.jobs())) == ("Running", 0, 1)
        full.remove()
        new.until_running()
        running.until_running(2)
        assert (running.status["crashes"], len(running.jobs()), len(new.jobs())) == (1, 2, 1)
        assert said in operator.told
        assert operator.stop() == 0
        assert "Traceback" not in operator.told


# -- credentials ------------------------------------------------------------------------------------------------------


def test_a_token_that_has_expired_is_read_again_from_its_file(plane: ControlPlane, arena: str, tmp_path: Path) -> None:
    def secret(name: str) -> str:
        plane.kubectl("-n", arena, "create", "secret", "generic", name)
        return name

    with service_account(plane, arena) as account:
        account.grant()
        name = f"operator-{arena}"
        kubeconfig = plane.kubeconfig_for(account.token(bound_to=secret("first")), name=name)
        with running_operator(kubeconfig, *where(arena), folder=tmp_path) as operator:
            operator.wait_until_leading()
            new_run(plane, arena, "before").until_running()
            plane.kubectl("-n", arena, "delete", "secret", "first")
            wait_until(lambda: "401 Unauthorized" in operator.told, what="the end of the token")
            run = new_run(plane, arena, "after")
            plane.kubeconfig_for(account.token(bound_to=secret("second")), name=name)
            run.until_running()
            assert operator.process.poll() is None
            assert "Traceback" not in operator.told


def test_an_operator_with_a_wrong_token_says_so_and_works_when_it_gets_a_right_one(
    plane: ControlPlane, arena: str, tmp_path: Path
) -> None:
    name = f"operator-{arena}"
    kubeconfig = plane.kubeconfig_for("nonsense", name=name)
    with running_operator(kubeconfig, *where(arena), folder=tmp_path) as operator:
        wait_until(lambda: "no TrainingRun can be seen" in operator.told, what="clear words")
        assert "401 Unauthorized" in operator.told
        status, missing = operator.get("/readyz")
        assert (status, operator.get("/healthz")[0]) == (503, 200), missing
        run = new_run(plane, arena, "patient")
        plane.kubeconfig_for(plane.admin_token, name=name)
        run.until_running()
        wait_until(lambda: operator.get("/readyz")[0] == 200, what="an operator that is ready")
        assert "Traceback" not in operator.told


def test_an_operator_that_may_not_see_runs_waits_until_it_may(plane: ControlPlane, arena: str, tmp_path: Path) -> None:
    with service_account(plane, arena) as account:
        account.grant(without("trainingruns", "list"))
        kubeconfig = plane.kubeconfig_for(account.token(), name=f"operator-{arena}")
        with running_operator(kubeconfig, *where(arena), folder=tmp_path) as operator:
            run = new_run(plane, arena, "unseen")
            wait_until(lambda: 'cannot list resource "trainingruns"' in operator.told, what="clear words")
            wait_until(lambda: 'cannot list resource "trainingruns"' in operator.get("/readyz")[1], what="the same")
            assert operator.metric("leader_election_master_status") == 0, "who sees nothing must not lead"
            account.grant()
            run.until_running()
            assert operator.process.poll() is None
            assert "Traceback" not in operator.told


@pytest.mark.soak  # kopf itself tries for 54 seconds
def test_an_operator_whose_watch_of_runs_is_refused_ends_with_one_clear_line(
    plane: ControlPlane, arena: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    with running_operator(proxy.kubeconfig, *where(arena), folder=tmp_path) as operator:
        operator.wait_until_leading()
        new_run(plane, arena, "seen").until_running()
        proxy.install(Answer(match=Match(resource="trainingruns", verbs=("list", "watch")), status=403, times=None))
        proxy.install(CutWatches(match=Match(resource="trainingruns", verbs=("watch",))))
        assert operator.process.wait(120) == 1
        assert operator.told.count("ended: kopf does not watch TrainingRuns any more") == 1
        assert "Traceback" not in operator.told


# -- several operators ------------------------------------------------------------------------------------------------


def test_two_operators_without_a_lease_make_one_job_per_launch(plane: ControlPlane, arena: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        operators = [
            stack.enter_context(running_operator(plane.kubeconfig, *where(arena), folder=tmp_path, elect=False, name=n))
            for n in ("one", "two")
        ]
        for operator in operators:
            operator.wait_until_leading()
        runs = [new_run(plane, arena, f"run-{number}") for number in range(10)]
        for run in runs:
            run.until_running()
        runs[0].end(137)
        runs[0].until_running(2)
        jobs = plane.request("GET", JOBS.format(arena)).body["items"]
        assert len(jobs) == len(runs) + 1, "one Job for each launch"
        assert [run.status["launch"] for run in runs] == [2, *(1 for _ in runs[1:])]
        assert runs[0].status["crashes"] == 1
        assert all("Traceback" not in operator.told for operator in operators)


def leader_and_other(one: Operator, two: Operator) -> tuple[Operator, Operator]:
    """Wait until one of them leads."""
    wait_until(lambda: one.metric(LEADING) + two.metric(LEADING) == 1, what="one that leads")
    return (one, two) if one.metric(LEADING) else (two, one)


def test_when_the_leader_dies_or_leaves_the_other_leads(plane: ControlPlane, arena: str, tmp_path: Path) -> None:
    def operator(name: str) -> Operator:
        return stack.enter_context(running_operator(plane.kubeconfig, *where(arena), folder=tmp_path, name=name))

    with ExitStack() as stack:
        leader, other = leader_and_other(operator("one"), operator("two"))
        run = new_run(plane, arena, "run")
        run.until_running()
        leader.kill()
        other.wait_until_leading()
        run.end(137)
        run.until_running(2)

        third = operator("three")
        wait_until(lambda: third.get("/readyz")[0] == 200, what="a third that could lead")
        assert third.metric(LEADING) == 0
        assert other.stop() == 0
        assert holder(plane, arena) in {"", holder_name(third)}, "given back, not left to expire"
        third.wait_until_leading()
        run.succeed()
        assert (run.status["launch"], len(run.jobs())) == (2, 2)


def holder_name(operator: Operator) -> str:
    """Its name in the Lease."""
    return f"three-{operator.report_url.split(':')[2].split('/')[0]}"


def test_a_leader_that_slept_past_its_lease_writes_nothing_when_it_wakes(
    plane: ControlPlane, arena: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    with running_operator(proxy.kubeconfig, *where(arena), folder=tmp_path, name="sleeper") as sleeper:
        sleeper.wait_until_leading()
        run = new_run(plane, arena, "run")
        run.until_running()
        with running_operator(plane.kubeconfig, *where(arena), folder=tmp_path, name="successor") as successor:
            wait_until(lambda: successor.get("/readyz")[0] == 200, what="a successor")
            sleeper.pause()
            successor.wait_until_leading()
            run.end(137)
            run.until_running(2)
            new_run(plane, arena, "unseen").until_running()
            asleep = proxy.mark()
            sleeper.resume()
            assert sleeper.process.wait(60) == 1
            written = [str(one) for one in proxy.since(asleep) if one.request.verb in WRITING]
            assert written == []
            assert "another replica leads" in sleeper.told
            assert "Traceback" not in sleeper.told
            run.succeed()
            assert (run.status["launch"], run.status["crashes"], len(run.jobs())) == (2, 1, 2)
