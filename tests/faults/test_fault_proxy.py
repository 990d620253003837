"""The fault proxy passes everything on as it is, and each fault does what it says, no more."""

from __future__ import annotations

import http.client
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.api_caller import Caller, calling
from tests.support.api_server_double import ApiServerDouble
from tests.support.fault_proxy.faults import (
    Answer,
    AnswerAfterCommit,
    Delay,
    HalfOpen,
    KillAfter,
    KillBefore,
    Reset,
    ServerAway,
    StaleList,
)
from tests.support.fault_proxy.lists import KEPT, KeptLists
from tests.support.fault_proxy.proxy import FaultProxy, fault_proxy
from tests.support.fault_proxy.requests import Match, is_write, parse_request

JOBS = "/apis/batch/v1/namespaces/team/jobs"
RUNS = "/apis/trainmaster.io/v1alpha1/namespaces/team/trainingruns"
EVENTS = "/api/v1/namespaces/team/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/team/leases"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
MORE_THAN_A_MEBIBYTE = "x" * (3 << 20)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/version", ("get", "", "", "", "", "")),
        ("GET", "/apis/trainmaster.io/v1alpha1", ("get", "trainmaster.io", "", "", "", "")),
        ("GET", "/api/v1/pods", ("list", "", "pods", "", "", "")),
        ("GET", "/api/v1/pods?watch=true&resourceVersion=7", ("watch", "", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces", ("list", "", "namespaces", "", "", "")),
        ("GET", "/api/v1/namespaces/team", ("get", "", "namespaces", "", "team", "")),
        ("PUT", "/api/v1/namespaces/team/finalize", ("update", "", "namespaces", "", "team", "finalize")),
        ("GET", f"{JOBS}", ("list", "batch", "jobs", "team", "", "")),
        ("GET", f"{JOBS}?watch=1", ("watch", "batch", "jobs", "team", "", "")),
        ("GET", f"{JOBS}/a", ("get", "batch", "jobs", "team", "a", "")),
        ("POST", f"{JOBS}", ("create", "batch", "jobs", "team", "from-body", "")),
        ("DELETE", f"{JOBS}/a", ("delete", "batch", "jobs", "team", "a", "")),
        ("DELETE", f"{JOBS}", ("deletecollection", "batch", "jobs", "team", "", "")),
        ("PATCH", f"{RUNS}/r/status", ("patch", "trainmaster.io", "trainingruns", "team", "r", "status")),
        ("PUT", f"{RUNS}/r", ("update", "trainmaster.io", "trainingruns", "team", "r", "")),
        ("POST", "/api/v1/namespaces/team/pods/p/eviction", ("create", "", "pods", "team", "p", "eviction")),
    ],
)
def test_a_request_is_known_in_the_terms_of_kubernetes(
    method: str, target: str, expected: tuple[str, str, str, str, str, str]
) -> None:
    path, _, query = target.partition("?")
    parameters = dict(pair.split("=") for pair in query.split("&") if pair)
    raw = b'{"metadata": {"name": "from-body"}}' if method == "POST" else b""
    request = parse_request(method, path, parameters, raw)
    found = (request.verb, request.group, request.resource, request.namespace, request.name, request.subresource)
    assert found == expected


def test_events_leases_and_reviews_are_no_writes() -> None:
    collections = (EVENTS, LEASES, REVIEWS, JOBS)
    writes = [path for path in collections if is_write(parse_request("POST", path, {}, b"{}"))]
    assert writes == [JOBS]


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "http"])
def test_everything_passes_as_it_is(server: ApiServerDouble, *, tls: bool) -> None:
    with fault_proxy(server, tls=tls) as proxy, calling(proxy.url, ca=proxy.ca, token="mine") as caller:
        created = caller.create(JOBS, "a", spec={"parallelism": 1})
        socket = caller.connection.sock
        listed = caller("GET", JOBS)
        patched = caller("PATCH", f"{JOBS}/a", {"spec": {"parallelism": 2}})
        missing = caller("GET", f"{JOBS}/b")
        again = caller.create(JOBS, "a")
        deleted = caller("DELETE", f"{JOBS}/a")
        assert caller.connection.sock is socket, "the connection was kept alive"
        statuses = [told.status for told in (created, listed, patched, missing, again, deleted)]
        assert statuses == [201, 200, 200, 404, 409, 200]
        assert listed.body["items"] == [created.body]
        assert patched.body["spec"] == {"parallelism": 2}
        assert set(server.authorizations) == {"Bearer mine"}
        assert [exchange.status for exchange in proxy.exchanges] == statuses
        assert [exchange.answered for exchange in proxy.exchanges] == statuses


def test_writes_are_numbered_and_kept_with_their_answers(proxy: FaultProxy, caller: Caller) -> None:
    caller.create(EVENTS, "e")
    caller.create(JOBS, "a", spec={"parallelism": 1})
    caller("GET", JOBS)
    caller.create(JOBS, "a")
    caller("PATCH", f"{JOBS}/a/status", {"status": {"active": 1}})
    told = [(e.write, str(e.request), e.status, e.committed) for e in proxy.writes]
    assert told == [
        (1, "create jobs team/a", 201, True),
        (2, "create jobs team/a", 409, False),
        (3, "patch jobs team/a/status", 200, True),
    ]
    assert proxy.writes[0].request.body["spec"] == {"parallelism": 1}
    assert proxy.writes[2].reply["status"] == {"active": 1}
    assert [e.began < (e.ended or 0) for e in proxy.exchanges] == [True] * 5


def test_bodies_above_a_mebibyte_pass_both_ways(proxy: FaultProxy, caller: Caller) -> None:
    assert caller.create(JOBS, "big", data=MORE_THAN_A_MEBIBYTE).body["data"] == MORE_THAN_A_MEBIBYTE
    assert caller("GET", JOBS).body["items"][0]["data"] == MORE_THAN_A_MEBIBYTE
    watch = caller.watch(JOBS)
    assert json.loads(watch.readline())["object"]["data"] == MORE_THAN_A_MEBIBYTE


def test_the_kubeconfig_leads_through_the_proxy_and_is_private(proxy: FaultProxy, server: ApiServerDouble) -> None:
    path = proxy.kubeconfig_for("other-token", name="other")
    document = json.loads(path.read_text(encoding="utf-8"))
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    with calling(cluster["server"], ca=Path(cluster["certificate-authority"]), token=user["token"]) as caller:
        assert caller("GET", JOBS).status == 200
    assert server.authorizations == ["Bearer other-token"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_left_in_the_file_system(server: ApiServerDouble) -> None:
    with fault_proxy(server) as proxy:
        folder = proxy.kubeconfig.parent
        assert folder.exists()
    assert not folder.exists()


def test_a_kill_before_a_write_leaves_the_server_as_it_was(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller
) -> None:
    killed = proxy.install(KillBefore(write=2, kill=lambda: None))
    assert caller.create(JOBS, "a").status == 201
    with pytest.raises(http.client.RemoteDisconnected):
        caller.create(JOBS, "b")
    killed.wait()
    assert [*server.objects] == [f"{JOBS}/a"]
    assert (proxy.writes[1].status, proxy.writes[1].answered, proxy.writes[1].faults) == (None, None, ["KillBefore"])
    assert caller.create(JOBS, "b").status == 201, "the next process is served"
    assert killed.strikes == 1


def test_a_kill_after_a_write_strikes_when_it_is_committed(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller
) -> None:
    at_death: list[str] = []
    killed = proxy.install(KillAfter(write=2, kill=lambda: at_death.extend(server.objects)))
    caller.create(JOBS, "a")
    with pytest.raises(http.client.RemoteDisconnected):
        caller.create(JOBS, "b")
    killed.wait()
    assert at_death == [f"{JOBS}/a", f"{JOBS}/b"]
    assert (proxy.writes[1].status, proxy.writes[1].answered) == (201, None)
    assert caller.create(JOBS, "b").status == 409


def test_a_kill_counts_only_the_requests_that_it_is_about(proxy: FaultProxy, caller: Caller) -> None:
    killed = proxy.install(KillBefore(match=Match(resource="jobs", verbs=("delete",)), write=1, kill=lambda: None))
    caller.create(RUNS, "r")
    caller.create(JOBS, "a")
    with pytest.raises(http.client.RemoteDisconnected):
        caller("DELETE", f"{JOBS}/a")
    killed.wait()


@pytest.mark.parametrize("kind", [KillBefore, KillAfter])
def test_what_a_dying_operator_sends_on_other_connections_is_lost(
    kind: type[KillBefore | KillAfter], proxy: FaultProxy, server: ApiServerDouble, caller: Caller, other: Caller
) -> None:
    def kill() -> None:
        with pytest.raises(http.client.RemoteDisconnected):
            other.create(JOBS, "too-late")

    killed = proxy.install(kind(write=1, kill=kill))
    with pytest.raises(http.client.RemoteDisconnected):
        caller.create(JOBS, "a")
    killed.wait()
    assert f"{JOBS}/too-late" not in server.objects


def test_a_kill_breaks_the_watches_of_the_dead(proxy: FaultProxy, caller: Caller, other: Caller) -> None:
    watch = other.watch(JOBS)
    proxy.install(KillAfter(write=1, kill=lambda: None))
    with pytest.raises(http.client.RemoteDisconnected):
        caller.create(JOBS, "a")
    with pytest.raises((http.client.IncompleteRead, OSError)):
        read_to_the_end(watch)


def test_a_write_is_followed_to_its_end_when_its_caller_goes_away(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller
) -> None:
    with server.slow():
        caller.connection.request("POST", JOBS, json.dumps({"metadata": {"name": "a"}}), caller.headers)
        proxy.wait_for(lambda: len(proxy.writes) == 1, what="the write")
        caller.close()
    proxy.wait_for(lambda: proxy.writes[0].committed, what="its commit")
    assert proxy.writes[0].answered is None


@pytest.mark.parametrize("status", [409, 410, 422, 429, 500, 503, 504])
def test_an_answer_is_given_so_often_without_asking_the_server(
    status: int, proxy: FaultProxy, server: ApiServerDouble, caller: Caller
) -> None:
    fault = Answer(
        match=Match(resource="jobs", verbs=("create",)), status=status, headers={"Retry-After": "3"}, times=2
    )
    answered = proxy.install(fault)
    told = [caller.create(JOBS, "a") for _ in range(3)]
    assert [t.status for t in told] == [status, status, 201]
    assert told[0].headers["Retry-After"] == "3"
    assert (told[0].body["kind"], told[0].body["code"]) == ("Status", status)
    assert answered.strikes == 2
    assert len(server.authorizations) == 1


def test_an_answer_can_come_after_the_commit(proxy: FaultProxy, server: ApiServerDouble, caller: Caller) -> None:
    struck = proxy.install(AnswerAfterCommit())
    assert caller.create(JOBS, "a").status == 504
    assert f"{JOBS}/a" in server.objects
    assert caller.create(JOBS, "a").status == 409
    assert struck.strikes == 1
    assert (proxy.writes[0].status, proxy.writes[0].answered) == (201, 504)


def test_a_delayed_request_is_overtaken(proxy: FaultProxy, caller: Caller, other: Caller) -> None:
    slow = proxy.install(Delay(match=Match(name="slow"), seconds=0.5))
    with ThreadPoolExecutor() as threads:
        slowly = threads.submit(caller.create, JOBS, "slow")
        slow.wait()
        assert other.create(JOBS, "fast").status == 201
        assert slowly.result().status == 201
    delayed, overtaking = proxy.writes
    assert (delayed.request.name, overtaking.request.name) == ("slow", "fast")
    assert (overtaking.ended or 0) < (delayed.ended or 0)


def test_a_late_answer_is_overtaken_by_what_comes_after_its_commit(
    proxy: FaultProxy, server: ApiServerDouble, caller: Caller, other: Caller
) -> None:
    slow = proxy.install(Delay(match=Match(name="slow"), seconds=0.5, after_commit=True))
    with ThreadPoolExecutor() as threads:
        slowly = threads.submit(caller.create, JOBS, "slow")
        slow.wait()
        assert f"{JOBS}/slow" in server.objects
        assert other.create(JOBS, "fast").status == 201
        assert not slowly.done()
        assert slowly.result().status == 201


@pytest.mark.parametrize("after_commit", [False, True])
def test_a_reset_is_a_reset(server: ApiServerDouble, *, after_commit: bool) -> None:
    # By plain http: Python's TLS calls a reset an end of file.
    with fault_proxy(server, tls=False) as proxy, calling(proxy.url, ca=None) as caller:
        struck = proxy.install(Reset(after_commit=after_commit))
        with pytest.raises(ConnectionResetError) as caught:
            caller.create(JOBS, "a")
        assert not isinstance(caught.value, http.client.RemoteDisconnected), "an orderly end of the connection"
        assert (f"{JOBS}/a" in server.objects) is after_commit
        assert struck.strikes == 1


def test_a_half_open_request_is_never_answered(proxy: FaultProxy, server: ApiServerDouble, caller: Caller) -> None:
    hung = proxy.install(HalfOpen(match=Match(verbs=("get",))))
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(caller, "GET", f"{JOBS}/a")
        hung.wait()
        assert not waiting.done()
        assert server.authorizations == []
        hung.remove()
        with pytest.raises(ConnectionResetError):
            waiting.result()


def test_faults_compose(proxy: FaultProxy, caller: Caller) -> None:
    delay = proxy.install(Delay(seconds=0.0))
    answer = proxy.install(Answer(status=503))
    assert [caller.create(JOBS, "a").status for _ in range(2)] == [503, 201]
    assert (delay.strikes, answer.strikes) == (2, 1)
    assert [e.faults for e in proxy.writes] == [["Delay", "Answer"], ["Delay"]]


def test_a_removed_fault_strikes_no_more(proxy: FaultProxy, caller: Caller) -> None:
    answer = proxy.install(Answer(status=503, times=None))
    assert [caller.create(JOBS, "a").status for _ in range(2)] == [503, 503]
    proxy.clear()
    assert caller.create(JOBS, "a").status == 201
    assert answer.strikes == 2


def test_a_stale_list_shows_an_earlier_moment_once(proxy: FaultProxy, caller: Caller) -> None:
    caller.create(JOBS, "a")
    before = caller("GET", JOBS)
    caller.create(JOBS, "b")
    stale = proxy.install(StaleList(match=Match(resource="jobs")))
    assert caller("GET", f"{JOBS}?limit=500&resourceVersion=0").body == before.body
    assert [item["metadata"]["name"] for item in caller("GET", JOBS).body["items"]] == ["a", "b"]
    assert stale.strikes == 1


def test_a_moment_can_be_remembered_to_go_back_to(proxy: FaultProxy, caller: Caller) -> None:
    caller("GET", JOBS)
    caller.create(JOBS, "a")
    proxy.remember_lists()
    caller("DELETE", f"{JOBS}/a")
    proxy.install(StaleList(index=1))
    assert [item["metadata"]["name"] for item in caller("GET", JOBS).body["items"]] == ["a"]


def test_a_list_that_was_never_answered_is_not_made_stale(proxy: FaultProxy, caller: Caller) -> None:
    stale = proxy.install(StaleList())
    caller.create(JOBS, "a")
    assert len(caller("GET", JOBS).body["items"]) == 1
    assert stale.strikes == 0


def test_a_list_in_pages_is_kept_as_one() -> None:
    def page(names: str, **meta: object) -> bytes:
        items = [{"metadata": {"name": name}} for name in names]
        return json.dumps({"kind": "JobList", "metadata": {"resourceVersion": "7"} | meta, "items": items}).encode()

    first, second, other = (
        parse_request("GET", JOBS, query, b"")
        for query in ({"limit": "2"}, {"limit": "2", "continue": "c"}, {"labelSelector": "a=b"})
    )
    kept = KeptLists()
    kept.keep(first, page("ab", **{"continue": "c", "remainingItemCount": 1}))
    kept.keep(second, page("c"))
    whole = json.loads(kept.older(first, index=0) or b"")
    assert [item["metadata"]["name"] for item in whole["items"]] == ["a", "b", "c"]
    assert (whole["kind"], whole["metadata"]) == ("JobList", {"resourceVersion": "7"})
    assert kept.older(second, index=0) is None, "the first page was all"
    assert kept.older(first, index=1) is None
    assert kept.older(other, index=0) is None, "another selector is another list"


def test_the_oldest_and_the_newest_lists_are_kept() -> None:
    kept = KeptLists()
    request = parse_request("GET", JOBS, {}, b"")
    for number in range(50):
        kept.keep(request, json.dumps({"metadata": {"resourceVersion": str(number)}, "items": []}).encode())
    ends = [json.loads(kept.older(request, index=index) or b"") for index in (0, -1)]
    assert [end["metadata"]["resourceVersion"] for end in ends] == ["0", "49"]
    assert kept.older(request, index=KEPT) is None


def test_the_server_goes_away_and_comes_back_under_its_address(proxy: FaultProxy, caller: Caller) -> None:
    watch = caller.watch(JOBS)
    away = proxy.install(ServerAway())
    with pytest.raises((http.client.IncompleteRead, OSError)):
        read_to_the_end(watch)
    with pytest.raises(ConnectionRefusedError), calling(proxy.url, ca=proxy.ca) as late:
        late("GET", JOBS)
    away.remove()
    with calling(proxy.url, ca=proxy.ca) as late:
        assert late("GET", JOBS).status == 200


def test_a_server_that_is_really_away_answers_nothing(proxy: FaultProxy, server: ApiServerDouble) -> None:
    with calling(proxy.url, ca=proxy.ca) as caller:
        caller("GET", JOBS)
        server.close_listener()
        with pytest.raises(http.client.RemoteDisconnected):
            caller("GET", JOBS)


def test_waiting_for_what_does_not_come_says_what_came(proxy: FaultProxy, caller: Caller) -> None:
    caller.create(JOBS, "a")
    with pytest.raises(AssertionError, match=r"strike 1 of Answer.*\n.*create jobs team/a -> 201"):
        proxy.install(Answer(status=503)).wait(timeout=0.01)


def read_to_the_end(watch: http.client.HTTPResponse) -> bytes:
    return watch.read()
