"""Watches through the fault proxy: event by event, in order, and disturbed exactly as a fault says."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.api_caller import Caller, calling, next_event
from tests.support.api_server_double import ApiServerDouble
from tests.support.fault_proxy.faults import (
    Answer,
    CutWatches,
    DropIntermediate,
    Duplicate,
    HalfOpen,
    HoldWatch,
    TruncateWatch,
    WatchError410,
)
from tests.support.fault_proxy.proxy import FaultProxy
from tests.support.fault_proxy.requests import Match
from tests.support.launcher import wait_until

JOBS = "/apis/batch/v1/namespaces/team/jobs"
PODS = "/api/v1/namespaces/team/pods"
JOB_WATCHES = Match(resource="jobs", verbs=("watch",))


def test_an_event_comes_when_it_happens_and_in_order(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller
) -> None:
    watch = caller.watch(JOBS)
    assert watch.status == 200, "its headers come before its first event"
    for number in range(1, 20):
        server.put(f"{JOBS}/a", status={"active": number})
        assert next_event(watch) == ("ADDED" if number == 1 else "MODIFIED", "a", str(number))
    assert [event.resource_version for event in proxy.events] == [str(number) for number in range(1, 20)]
    assert {(event.resource, event.name) for event in proxy.events} == {("jobs", "a")}


def test_a_burst_keeps_its_order(server: ApiServerDouble, caller: Caller) -> None:
    for number in range(300):
        server.put(f"{JOBS}/j{number:03}")
    watch = caller.watch(JOBS)
    assert [next_event(watch)[1] for _ in range(300)] == [f"j{number:03}" for number in range(300)]


def test_a_client_that_goes_away_leaves_nothing(proxy: FaultProxy, server: ApiServerDouble) -> None:
    before = proxy.tasks()
    held = proxy.install(HoldWatch(match=Match(resource="pods")))
    for path in (JOBS, PODS):
        with calling(proxy.url, ca=proxy.ca) as caller:
            watch = caller.watch(path)
            server.put(f"{path}/a")
            proxy.wait_for(lambda: len(proxy.events) > 0, what="the event")
            assert proxy.open_watches() == 1
            watch.close()
        wait_until(lambda: proxy.tasks() == before, what="the end of the watch's tasks")
        wait_until(lambda: server.watchers == 0, what="the end of the server's watch")
        assert proxy.open_watches() == 0
    held.wait()


def test_held_events_come_later_in_their_order(proxy: FaultProxy, server: ApiServerDouble, caller: Caller) -> None:
    watch = caller.watch(JOBS)
    server.put(f"{JOBS}/a")
    assert next_event(watch)[1] == "a"
    held = proxy.install(HoldWatch(match=JOB_WATCHES))
    server.put(f"{JOBS}/b")
    server.put(f"{JOBS}/a", status={})
    server.delete(f"{JOBS}/b")
    held.wait(3)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(next_event, watch)
        proxy.open_watches()  # a round through the proxy's loop: it had its chance to deliver
        assert not waiting.done()
        held.remove()
        server.put(f"{JOBS}/c")
        told = [waiting.result(), *(next_event(watch) for _ in range(3))]
    assert told == [("ADDED", "b", "2"), ("MODIFIED", "a", "3"), ("DELETED", "b", "4"), ("ADDED", "c", "5")]
    assert held.strikes == 3


def test_only_the_watches_that_are_meant_are_held(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller, other: Caller
) -> None:
    jobs, pods = caller.watch(JOBS), other.watch(PODS)
    held = proxy.install(HoldWatch(match=JOB_WATCHES))
    server.put(f"{JOBS}/a")
    server.put(f"{PODS}/p")
    assert next_event(pods)[1] == "p"
    held.remove()
    assert next_event(jobs)[1] == "a"


def test_two_holds_hold_until_both_are_removed(proxy: FaultProxy, server: ApiServerDouble, caller: Caller) -> None:
    watch = caller.watch(JOBS)
    first, second = (proxy.install(HoldWatch(match=JOB_WATCHES)) for _ in range(2))
    server.put(f"{JOBS}/a")
    second.wait()
    first.remove()
    server.put(f"{JOBS}/a", status={})
    second.wait(2)
    second.remove()
    assert [next_event(watch)[2] for _ in range(2)] == ["1", "2"]
    assert (first.strikes, second.strikes) == (1, 2)


def test_intermediate_changes_are_dropped_and_all_else_is_kept(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller
) -> None:
    watch = caller.watch(JOBS)
    drop = proxy.install(DropIntermediate(match=JOB_WATCHES))
    for name in ("a", "b"):
        server.put(f"{JOBS}/{name}")
    for number in range(3):
        server.put(f"{JOBS}/a", status={"active": number})
        server.put(f"{JOBS}/b", status={"active": number})
    server.delete(f"{JOBS}/b")
    proxy.wait_for(lambda: len(proxy.events) == 9, what="nine events")
    drop.remove()
    told = [next_event(watch) for _ in range(5)]
    assert told == [
        ("ADDED", "a", "1"),
        ("ADDED", "b", "2"),
        ("MODIFIED", "a", "7"),
        ("MODIFIED", "b", "8"),
        ("DELETED", "b", "9"),
    ]
    held = proxy.install(HoldWatch(match=JOB_WATCHES))
    server.put(f"{JOBS}/a", status={})
    server.put(f"{JOBS}/a", status={})
    held.wait(2)
    held.remove()
    assert [next_event(watch)[2] for _ in range(2)] == ["10", "11"], "nothing is dropped any more"
    assert drop.strikes == 4


def test_events_come_twice(proxy: FaultProxy, server: ApiServerDouble, caller: Caller) -> None:
    watch = caller.watch(JOBS)
    doubled = proxy.install(Duplicate())
    server.put(f"{JOBS}/a")
    server.delete(f"{JOBS}/a")
    assert [next_event(watch)[0] for _ in range(4)] == ["ADDED", "ADDED", "DELETED", "DELETED"]
    assert doubled.strikes == 2


def test_held_events_can_come_twice(proxy: FaultProxy, server: ApiServerDouble, caller: Caller) -> None:
    watch = caller.watch(JOBS)
    held = proxy.install(HoldWatch())
    proxy.install(Duplicate())
    server.put(f"{JOBS}/a")
    held.wait()
    held.remove()
    assert [next_event(watch) for _ in range(2)] == [("ADDED", "a", "1")] * 2


@pytest.mark.parametrize("abrupt", [False, True])
def test_a_watch_is_cut_within_an_event(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller, *, abrupt: bool
) -> None:
    watch = caller.watch(JOBS)
    cut = proxy.install(TruncateWatch(abrupt=abrupt))
    server.put(f"{JOBS}/a")
    if abrupt:
        with pytest.raises(http.client.IncompleteRead) as caught:
            watch.read()
        rest = caught.value.partial
    else:
        rest = watch.read()
    with pytest.raises(json.JSONDecodeError):
        json.loads(rest)
    assert rest.startswith(b'{"type": "ADDED"')
    assert cut.strikes == 1
    with calling(proxy.url, ca=proxy.ca) as again:
        assert next_event(again.watch(JOBS))[1] == "a"


@pytest.mark.parametrize("abrupt", [False, True])
def test_all_watches_that_are_meant_are_cut_now(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller, other: Caller, *, abrupt: bool
) -> None:
    jobs, pods = caller.watch(JOBS), other.watch(PODS)
    wait_until(lambda: proxy.open_watches() == 2, what="two watches")
    cut = proxy.install(CutWatches(match=JOB_WATCHES, abrupt=abrupt))
    assert cut.strikes == 1
    if abrupt:
        with pytest.raises(http.client.IncompleteRead):
            jobs.read()
    else:
        assert jobs.read() == b""
    server.put(f"{PODS}/p")
    assert next_event(pods)[1] == "p"
    with calling(proxy.url, ca=proxy.ca) as again:
        server.put(f"{JOBS}/a")
        assert next_event(again.watch(JOBS))[1] == "a", "watches opened later live"


def test_a_cut_ends_a_watch_that_is_held_and_loses_what_was_held(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller
) -> None:
    watch = caller.watch(JOBS)
    held = proxy.install(HoldWatch())
    server.put(f"{JOBS}/a")
    held.wait()
    proxy.install(CutWatches(abrupt=False))
    assert watch.read() == b""


def test_watches_expire_now_and_so_often_again(proxy: FaultProxy, server: ApiServerDouble, caller: Caller) -> None:
    watch = caller.watch(JOBS)
    server.put(f"{JOBS}/a")
    assert next_event(watch)[1] == "a"
    expired = proxy.install(WatchError410(match=JOB_WATCHES, also_next=1))
    for _ in range(2):
        event = json.loads(watch.readline())
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert watch.read() == b"", "the stream is complete"
        watch = caller.watch(JOBS)
    assert next_event(watch)[1] == "a"
    assert expired.strikes == 2


def test_a_watch_can_be_refused(proxy: FaultProxy, caller: Caller) -> None:
    proxy.install(Answer(match=JOB_WATCHES, status=410))
    refused = caller.watch(JOBS)
    assert (refused.status, json.loads(refused.read())["reason"]) == (410, "Expired")


def test_a_watch_goes_silent_and_breaks_when_that_is_removed(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller, other: Caller
) -> None:
    watch = caller.watch(JOBS)
    server.put(f"{JOBS}/a")
    assert next_event(watch)[1] == "a"
    silent = proxy.install(HalfOpen(match=JOB_WATCHES))
    server.put(f"{JOBS}/b")
    silent.wait()
    assert other("GET", f"{JOBS}/b").status == 200, "all else is served"
    assert proxy.open_watches() == 1
    silent.remove()
    with pytest.raises(http.client.IncompleteRead) as caught:
        watch.read()
    assert caught.value.partial == b"", "the event is lost"
