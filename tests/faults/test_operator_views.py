"""What the operator sees is old, has gaps, comes twice, or does not come at all: it looks before it acts.

Cases 6, 7, 8, 9, 10, 13, 16 and 17 of the fault catalogue.
"""

from __future__ import annotations

import asyncio

import aiohttp
import kopf
import pytest

from tests.support.api_server_double import ApiServerDouble
from tests.support.fault_proxy.faults import (
    CutWatches,
    Delay,
    DropIntermediate,
    Duplicate,
    Fault,
    HalfOpen,
    HoldWatch,
    ServerAway,
    StaleList,
    TruncateWatch,
    WatchError410,
)
from tests.support.fault_proxy.proxy import FaultProxy
from tests.support.fault_proxy.requests import Match, Request
from tests.support.operator_process import PATIENCE_SECONDS, wait_until
from tests.support.scene import Run, Scene
from trainmaster.adapters.kubernetes import client
from trainmaster.adapters.kubernetes.client import ApiClient, ApiError
from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.shell.operator.run_watch import _settings

SEEN_LATE_SECONDS = 75
"""What the fault catalogue allows until a dead watch is noticed."""


def watches_of(*resources: str) -> Match:
    return Match(verbs=("watch",), where=lambda request: request.resource in resources)


EVERYTHING = ("trainingruns", "jobs", "pods", "runrecords")
VIEWS = [("jobs", "pods"), ("trainingruns",), EVERYTHING]


def crash_and_go_on(run: Run, *, fault: Fault) -> None:
    """Launch 1 crashes while a fault is at work, and the run is woken; then the fault ends and launch 2 succeeds."""
    run.wait_running(launch=1)
    installed = run.scene.proxy.install(fault)
    run.finish(launch=1, exit_code=1)
    run.wait_for(lambda: run.jobs(1)[0]["status"].get("failed") == 1, what="its Job has failed")
    for _ in range(3):
        run.touch()
    if not isinstance(fault, DropIntermediate):
        installed.wait()
    installed.remove()
    installed.wait()  # what was dropped is counted now
    run.wait_running(launch=2)
    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)


@pytest.mark.parametrize("held", VIEWS, ids="-".join)
@pytest.mark.parametrize("fault", [HoldWatch, DropIntermediate])
def test_06_views_that_lag_behind_make_no_second_job(
    stage: Scene, fault: type[HoldWatch | DropIntermediate], held: tuple[str, ...]
) -> None:
    run = stage.create(f"{fault.__name__.lower()}-{'-'.join(held)}")

    crash_and_go_on(run, fault=fault(match=watches_of(*held)))

    assert len(run.jobs_ever()) == 2
    assert run.status["crashes"] == 1
    run.assert_quiet()
    stage.assert_lawful()


def test_06_events_that_come_twice_count_once(stage: Scene) -> None:
    run = stage.create("doubled")

    crash_and_go_on(run, fault=Duplicate())

    assert len(run.jobs_ever()) == 2
    assert run.status["crashes"] == 1
    stage.assert_lawful()


LATE_SECONDS = 2.0
"""An answer takes this long: a watch tells within milliseconds what happened meanwhile."""


def ends_a_run(request: Request) -> bool:
    """Whether this is the last status write of a run."""
    decisions = ((request.body or {}).get("status") or {}).get("decisions") or []
    return any(d["kind"] == "Record" and d["state"] == "Done" for d in decisions)


def test_06_an_answer_that_comes_late_takes_back_nothing_that_was_watched_meanwhile(stage: Scene) -> None:
    run = stage.create("late")
    run.wait_running(launch=1)
    late = stage.proxy.install(Delay(match=Match(where=ends_a_run), seconds=LATE_SECONDS, after_commit=True, times=1))
    run.finish(launch=1)
    late.wait()
    run.edit(rerun="2")  # told to the operator before it has the answer to its own last write

    run.wait_running(launch=2)
    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)
    stage.assert_lawful()


@pytest.mark.parametrize("held", [("trainingruns",), EVERYTHING], ids="-".join)
def test_07_an_object_of_the_same_name_inherits_nothing(stage: Scene, held: tuple[str, ...]) -> None:
    name = f"again-{len(held)}"
    old = stage.create(name)
    old.wait_running(launch=1)
    hold = stage.proxy.install(HoldWatch(match=watches_of(*held)))
    old.delete()
    old.wait_gone()
    mark = stage.proxy.mark()

    new = stage.create(name)
    hold.wait(2)
    hold.remove()
    new.wait_running(launch=1)
    new.finish(launch=1)
    new.wait_ended("Succeeded", launches=1)

    touched = [e for e in stage.proxy.since(mark) if e.committed and e.write and e.request.name.startswith(name)]
    assert {uid_of(e.reply) for e in touched if e.request.resource == "trainingruns"} == {new.uid}
    assert len(new.jobs_ever()) == len(old.jobs_ever()) == 1
    assert (new.status["crashes"], new.status["disruptions"]) == (0, 0)
    stage.assert_lawful()


def uid_of(reply: dict[str, dict[str, str]]) -> str:
    return reply["metadata"]["uid"]


def test_08_lists_from_the_past_roll_nothing_back(stage: Scene) -> None:
    run = stage.create("travelled")
    run.wait_running(launch=1)
    stage.proxy.remember_lists()
    run.finish(launch=1, exit_code=1)
    run.wait_running(launch=2)

    stale = [
        stage.proxy.install(StaleList(match=Match(verbs=("list",), resource=resource), index=-1))
        for resource in ("trainingruns", "jobs", "pods")
    ]
    stage.proxy.install(WatchError410())
    for each in stale:
        each.wait()
    for _ in range(3):
        run.touch()
    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)

    assert len(run.jobs_ever()) == 2
    assert run.status["crashes"] == 1
    stage.proxy.clear()
    run.assert_quiet()
    stage.assert_lawful()


def test_08_a_new_process_that_is_shown_the_past_makes_no_job_of_it(stage: Scene) -> None:
    never = stage.proxy.install(HalfOpen(match=Match(verbs=("create",), resource="jobs")))
    run = stage.create("past")
    never.wait()
    stage.proxy.remember_lists()  # the launch is decided, and has no Job
    never.remove()
    run.wait_running(launch=1)
    run.edit(suspend=True)
    run.wait_phase("Suspended")
    run.wait_for(lambda: not run.jobs(), what="its Job is gone: the name is free")
    run.wait_settled()

    stage.keeper.kill()
    stage.proxy.install(HoldWatch())
    stage.proxy.install(StaleList(match=Match(verbs=("list",), where=is_of_all_runs), index=-1, times=None))
    operator = stage.keeper.start()
    operator.wait_until_leading()
    there = len(stage.history.objects("TrainingRun"))
    wait_until(lambda: operator.metric("controller_runtime_reconcile_total") >= there, what="a pass over each run")
    wait_until(lambda: operator.metric("controller_runtime_active_workers") == 0, what="its end")
    assert run.status["phase"] == "Suspended"
    assert len(run.jobs_ever()) == 1
    stage.proxy.clear()
    run.edit(suspend=False)
    run.wait_running(launch=2)

    assert len(run.jobs_ever()) == 2
    stage.assert_lawful()


def is_of_all_runs(request: Request) -> bool:
    """Whether a list fills a cache; a live look asks for what is of one run."""
    return "=" not in request.query.get("labelSelector", "")


@pytest.mark.parametrize(("exit_code", "crashes", "launches"), [(0, 0, 1), (1, 1, 2)])
def test_09_what_happened_while_it_was_down_is_caught_up_with(
    stage: Scene, exit_code: int, crashes: int, launches: int
) -> None:
    run = stage.create(f"alone-{exit_code}")
    run.wait_running(launch=1)
    stage.keeper.kill()
    run.finish(launch=1, exit_code=exit_code)
    run.wait_for(lambda: run.jobs(1)[0]["status"].get("conditions"), what="the Job's end")
    if not exit_code:
        run.scene.plane.request("DELETE", f"/api/v1/namespaces/{stage.namespace}/pods/{name_of_pod(run)}")

    stage.keeper.start()
    if exit_code:
        run.wait_running(launch=2)
        run.finish(launch=2)
    run.wait_for(lambda: run.status.get("completionTime"), what="its end")

    assert run.status["launch"] == launches
    assert run.status["crashes"] == crashes
    # The pod and its last word are gone: what was not heard is not claimed.
    assert run.status["phase"] == ("Succeeded" if exit_code else "Unknown")
    wait_until(lambda: run.status["phase"] in run.told() or run.condition("Succeeded")["reason"] in run.told(), what="")
    assert run.told()[run.condition("Succeeded")["reason"]] == 1
    stage.assert_lawful()


def name_of_pod(run: Run) -> str:
    return str(run.pods(1)[0]["metadata"]["name"])


def test_10_of_edits_while_it_was_down_only_the_last_one_acts(stage: Scene) -> None:
    run = stage.create("edited")
    run.wait_running(launch=1)
    stage.keeper.kill()
    for number, suspend in enumerate((True, False, True, False, True)):
        run.edit(suspend=suspend, activeDeadlineSeconds=1000 + number)

    stage.keeper.start()
    run.wait_phase("Suspended")
    run.wait_for(lambda: not run.jobs(), what="its Job is gone")

    assert [(d["kind"], d["launch"]) for d in run.decisions] == [("Launch", 1), ("EndLaunch", 1)]
    generation = run.wire["metadata"]["generation"]
    assert run.status["observedGeneration"] == generation
    assert run.condition("Suspended")["observedGeneration"] == generation
    run.assert_quiet()
    stage.assert_lawful()


def test_13_watches_that_all_expire_at_once_repeat_nothing(stage: Scene) -> None:
    run = stage.create("expired")
    run.wait_running(launch=1)
    wait_until(lambda: {"FirstLaunch", "Running"} <= set(run.told()), what="its first Events")
    told, mark = run.told(), stage.proxy.mark()

    gone = stage.proxy.install(WatchError410(also_next=2))
    gone.wait(len(EVERYTHING))
    lists = Match(verbs=("list",), namespace=stage.namespace)
    stage.proxy.wait_for(
        lambda: len({e.request.resource for e in stage.proxy.since(mark) if lists(e.request) and e.answered}) == 4,
        what="all kinds are listed again",
    )
    gone.remove()
    run.assert_quiet()
    assert run.told() == told

    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    assert len(run.jobs_ever()) == 1
    stage.assert_lawful()


OURS = watches_of("jobs", "pods", "runrecords")
"""Watches by the operator's own reflectors; runs are watched by kopf."""


@pytest.mark.parametrize(
    "fault",
    [CutWatches(), CutWatches(abrupt=False), TruncateWatch(abrupt=True), TruncateWatch(match=OURS)],
    ids=["cut", "ended", "cut-in-a-line", "ended-in-a-line"],
)
def test_17_watches_that_break_are_taken_up_again(stage: Scene, fault: Fault) -> None:
    run = stage.create(f"cut-{stage.proxy.mark()}")
    run.wait_running(launch=1)
    process = stage.operator.process

    cut = stage.proxy.install(fault)
    run.finish(launch=1)
    cut.wait()
    run.wait_ended("Succeeded", launches=1)

    assert process.poll() is None, "it survives"
    assert len(run.jobs_ever()) == 1
    stage.assert_lawful()


def test_17_half_a_line_in_good_order_ends_the_process_and_the_next_one_goes_on(stage: Scene) -> None:
    run = stage.create("half-a-line")
    run.wait_running(launch=1)
    stage.forgiven.extend(("kopf", "trainmaster.cli.operator: ended"))

    cut = stage.proxy.install(TruncateWatch(match=watches_of("trainingruns")))
    run.touch()
    cut.wait()
    assert stage.operator.process.wait(PATIENCE_SECONDS) == 1, "kopf does not survive it, and says so"
    run.finish(launch=1)
    stage.keeper.start()
    run.wait_ended("Succeeded", launches=1)

    assert (run.status["crashes"], run.status["disruptions"]) == (0, 0)
    stage.assert_lawful()


def test_17_a_server_that_goes_away_and_comes_back_costs_no_launch(stage: Scene) -> None:
    run = stage.create("away")
    run.wait_running(launch=1)
    process, failed = stage.operator.process, stage.operator.told.count("does not answer")
    stage.forgiven.append("kopf._cogs.clients")  # kopf calls a request that it will try again an error

    away = stage.proxy.install(ServerAway())
    run.finish(launch=1)
    wait_until(lambda: stage.operator.told.count("does not answer") >= failed + 3, what="requests that fail")
    assert stage.operator.get("/healthz")[0] == 200, "a new process would find the server away as well"
    away.remove()
    run.wait_ended("Succeeded", launches=1)

    assert process.poll() is None
    assert (run.status["crashes"], run.status["disruptions"]) == (0, 0)
    stage.assert_lawful()


def test_16_a_watch_that_falls_silent_is_noticed(
    server: ApiServerDouble, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.QUIET_SECONDS <= SEEN_LATE_SECONDS
    assert _settings().watching.inactivity_timeout == client.QUIET_SECONDS, "kopf's watch of runs likewise"
    monkeypatch.setattr(client, "QUIET_SECONDS", 0.2)
    proxy.install(HalfOpen(match=Match(verbs=("watch",))))

    async def watch() -> None:
        info = kopf.ConnectionInfo(server=proxy.url, ca_path=str(proxy.ca), token=server.admin_token)
        async with ApiClient(lambda: Connection(info=info)) as api:
            async for _ in api.watch("/apis/trainmaster.io/v1alpha1/trainingruns", version="1"):
                pytest.fail("nothing comes through")

    with pytest.raises(ApiError) as raised:
        asyncio.run(watch())
    assert raised.value.reason == client.SILENT
    assert isinstance(raised.value.__cause__, aiohttp.ServerTimeoutError)
