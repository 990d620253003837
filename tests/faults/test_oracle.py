"""The oracle calls twins equal and finds each difference; the invariants are found violated where they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
from aiohttp import ClientError

from tests.support.api_server_double import ApiServerDouble
from tests.support.fault_proxy.requests import Exchange, is_write, parse_request
from tests.support.invariants import Observed, assert_invariants, assert_quiet, violations
from tests.support.observer import observing
from tests.support.oracle import Trace, assert_same, counts, end_state, trace
from trainmaster.api.labels import job_name

Wire = dict[str, Any]
Change = Callable[[list[Wire]], None]

UID = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER_UID = "ffeeddcc-0000-4000-8000-000000000002"
RUNS = "/apis/trainmaster.io/v1alpha1/namespaces/team/trainingruns"
JOBS = "/apis/batch/v1/namespaces/team/jobs"


def left_behind(*, uid: str = UID, namespace: str = "team", minute: int = 10) -> list[Wire]:
    """A run and its Job as they end; the arguments are what differs between twins."""
    time = f"2026-01-02T03:{minute}:00Z"
    name = job_name("market", uid=uid, launch=1)
    job_uid = f"{uid[:-2]}99"
    plan = json.dumps({"launch": 1, "uid": uid, "issued": time})
    owner = {"kind": "TrainingRun", "name": "market", "uid": uid, "controller": True}
    decision = {"id": f"Launch-1-1-17000000{minute}", "kind": "Launch", "launch": 1, "state": "Done", "time": time}
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": time} for kind in ("Ready", "Succeeded")]
    pod = f"{namespace}/{name}-{'zstsk' if minute % 2 else 'q48hb'}"
    ended = {"type": "Complete", "status": "True", "message": f"pod {pod} has ended"}
    meta = {
        "namespace": namespace,
        "creationTimestamp": time,
        "resourceVersion": str(minute),
        "managedFields": [minute],
    }
    return [
        {
            "kind": "TrainingRun",
            "metadata": meta | {"name": "market", "uid": uid, "generation": 1},
            "spec": {"workload": "market-classifier"},
            "status": {
                "launch": 1,
                "phase": "Succeeded",
                "activeSeconds": minute,
                "decisions": [decision],
                "conditions": conditions if minute % 2 else conditions[::-1],
                "progress": {"step": 40, "etaSeconds": minute},
            },
        },
        {
            "kind": "Job",
            "metadata": meta | {"name": name, "uid": job_uid, "ownerReferences": [owner], "labels": {"run-uid": uid}},
            "spec": {"template": {"env": [{"name": "PLAN", "value": plan}, {"name": "DIR", "value": f"{uid}/0/1"}]}},
            "status": {"succeeded": 1, "startTime": time, "conditions": [ended]},
        },
    ]


def exchange(method: str, path: str, *, body: object = None, status: int = 200, reply: object = None) -> Exchange:
    """One request, as the proxy's log has it."""
    request = parse_request(method, path, {}, b"" if body is None else json.dumps(body).encode())
    return Exchange(number=0, request=request, began=0, status=status, reply=reply, answered=status)


def log(*exchanges: Exchange) -> list[Exchange]:
    """Exchanges one after the other."""
    for number, made in enumerate(exchanges, start=1):
        made.number, made.began, made.ended = number, 2 * number, 2 * number + 1
        made.write = number if is_write(made.request) else None
    return list(exchanges)


def journalled(kind: str = "Launch", *, launch: int = 1, state: str = "Recorded", status: int = 200) -> Exchange:
    """A status write whose reply holds a decision."""
    decision = {"id": f"{kind}-{launch}-1-1700000000", "kind": kind, "launch": launch, "state": state}
    reply = {"metadata": {"uid": UID}, "status": {"launch": launch, "decisions": [decision]}}
    return exchange("PATCH", f"{RUNS}/market/status", body={"status": {}}, status=status, reply=reply)


def created(launch: int = 1, *, uid: str = UID, status: int = 201) -> Exchange:
    name = job_name("market", uid=uid, launch=launch)
    return exchange("POST", JOBS, body={"metadata": {"name": name}}, status=status)


def deleted(launch: int = 1, *, status: int = 200) -> Exchange:
    return exchange("DELETE", f"{JOBS}/{job_name('market', uid=UID, launch=launch)}", status=status)


def job_state(kind: str, launch: int, **status: object) -> Observed:
    owner = {"kind": "TrainingRun", "name": "market", "uid": UID}
    name = job_name("market", uid=UID, launch=launch)
    meta = {"name": name, "uid": f"job-{launch}", "ownerReferences": [owner]}
    return Observed(type=kind, kind="Job", object={"metadata": meta, "status": status})


def run_state(launch: int) -> Observed:
    meta = {"name": "market", "uid": UID}
    return Observed(type="MODIFIED", kind="TrainingRun", object={"metadata": meta, "status": {"launch": launch}})


def traced(objects: list[Wire], *exchanges: Exchange) -> Trace:
    return Trace(objects=end_state(objects), counts=counts(log(*exchanges)))


def test_twins_are_equal_whatever_uids_times_and_namespaces_they_had() -> None:
    reference = traced(left_behind(), created())
    twin = traced(left_behind(uid=OTHER_UID, namespace="team-2", minute=11), created(uid=OTHER_UID))
    assert_same(reference, twin)
    assert sorted(reference.objects) == ["Job/market-<uid>-1", "TrainingRun/market"]
    assert reference.counts == {"create jobs market-<uid>-1": 1}


def lose_the_job(objects: list[Wire]) -> None:
    del objects[1]


def change_the_phase(objects: list[Wire]) -> None:
    objects[0]["status"]["phase"] = "Failed"


def count_a_second_launch(objects: list[Wire]) -> None:
    objects[0]["status"]["launch"] = 2


def leave_a_decision_open(objects: list[Wire]) -> None:
    objects[0]["status"]["decisions"][0]["state"] = "Recorded"


def decide_twice(objects: list[Wire]) -> None:
    objects[0]["status"]["decisions"].append(objects[0]["status"]["decisions"][0] | {"id": "Launch-2-1-1700000099"})


def give_the_job_to_another_run(objects: list[Wire]) -> None:
    objects[1]["metadata"]["ownerReferences"][0]["uid"] = UID


def name_the_job_after_another_run(objects: list[Wire]) -> None:
    objects[1]["metadata"]["name"] = job_name("market", uid=UID, launch=1)


def give_it_another_plan(objects: list[Wire]) -> None:
    objects[1]["spec"]["template"]["env"][0]["value"] = json.dumps({"launch": 2, "uid": UID})


def lose_a_condition(objects: list[Wire]) -> None:
    del objects[0]["status"]["conditions"][0]


def change_the_spec(objects: list[Wire]) -> None:
    objects[0]["spec"]["suspend"] = False


@pytest.mark.parametrize(
    "change",
    [
        lose_the_job,
        change_the_phase,
        count_a_second_launch,
        leave_a_decision_open,
        decide_twice,
        give_the_job_to_another_run,
        name_the_job_after_another_run,
        give_it_another_plan,
        lose_a_condition,
        change_the_spec,
    ],
)
def test_a_difference_of_the_end_state_is_found(change: Change) -> None:
    disturbed = copy.deepcopy(left_behind(uid=OTHER_UID, minute=11))
    change(disturbed)
    with pytest.raises(AssertionError, match="did not go like its twin"):
        assert_same(traced(left_behind()), traced(disturbed))


def test_the_difference_is_shown() -> None:
    disturbed = left_behind()
    change_the_phase(disturbed)
    with pytest.raises(AssertionError, match=r'(?s)-   "phase": "Succeeded".*\+   "phase": "Failed"'):
        assert_same(traced(left_behind()), traced(disturbed))


def test_a_field_that_may_differ_is_named() -> None:
    disturbed = left_behind()
    change_the_phase(disturbed)
    ignore = ["TrainingRun.status.phase"]
    assert end_state(disturbed, ignore=ignore) == end_state(left_behind(), ignore=ignore)


@pytest.mark.parametrize(
    ("disturbed", "message"),
    [
        ((created(), created(), deleted()), "create jobs market-<uid>-1: 1 times undisturbed, 2 times disturbed"),
        ((created(),), "delete jobs market-<uid>-1: 1 times undisturbed, 0 times disturbed"),
        ((created(), deleted(), created(2)), "create jobs market-<uid>-2: 0 times undisturbed, 1 times disturbed"),
    ],
    ids=["doubled create", "lost delete", "one launch more"],
)
def test_a_difference_of_the_counts_is_found(disturbed: tuple[Exchange, ...], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_same(traced(left_behind(), created(), deleted()), traced(left_behind(), *disturbed))


def test_only_what_the_server_took_is_counted() -> None:
    unanswered = created()
    unanswered.status = None
    events = exchange("POST", "/api/v1/namespaces/team/events", body={"metadata": {"name": "e"}}, status=201)
    taken_unheard = created()
    taken_unheard.answered = None
    found = counts(log(created(status=409), unanswered, events, taken_unheard, deleted(status=404), journalled()))
    assert found == {"create jobs market-<uid>-1": 1}


def test_a_trace_is_about_one_namespace() -> None:
    class Cluster:
        def kubectl(self, *args: str) -> CompletedProcess[str]:
            assert args[args.index("--namespace") + 1] == "team"
            return CompletedProcess(args, 0, stdout=json.dumps({"items": left_behind()}))

    elsewhere = exchange("POST", JOBS.replace("team", "other"), body={"metadata": {"name": "x"}}, status=201)
    found = trace(Cluster(), "team", log(created(), elsewhere))
    assert (len(found.objects), sum(found.counts.values())) == (2, 1)


def test_a_course_as_it_should_be_violates_nothing() -> None:
    complete = [{"type": "Complete", "status": "True"}]
    history = [
        run_state(0),
        run_state(1),
        job_state("ADDED", 1),
        job_state("DELETED", 1),
        run_state(2),
        job_state("ADDED", 2),
        job_state("MODIFIED", 2, conditions=complete),
        run_state(3),
        job_state("ADDED", 3),
    ]
    exchanges = log(
        journalled(),
        created(),
        journalled(state="Done"),
        journalled("EndLaunch"),
        deleted(),
        journalled(launch=2),
        created(2, status=409),
        journalled("CleanUp", launch=2),
        deleted(2),
    )
    assert_invariants(exchanges, history)


@pytest.mark.parametrize(
    "history",
    [
        [job_state("ADDED", 1), job_state("ADDED", 2)],
        [job_state("ADDED", 1), job_state("MODIFIED", 1, active=1), job_state("ADDED", 2), job_state("DELETED", 1)],
    ],
)
def test_two_live_jobs_of_one_run_are_found(history: list[Observed]) -> None:
    with pytest.raises(
        AssertionError, match=r"I1: run .* has 2 live Jobs at once: market-0a1b2c3d-1, market-0a1b2c3d-2"
    ):
        assert_invariants([], history)


def test_a_launch_that_falls_is_found() -> None:
    with pytest.raises(AssertionError, match=r"I2: status\.launch of market .* fell from 2 to 1"):
        assert_invariants([], [run_state(1), run_state(2), run_state(1)])


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PATCH", {"spec": {"suspend": True}}),
        ("PATCH", [{"op": "replace", "path": "/spec/suspend", "value": True}]),
        ("PATCH", [{"op": "replace", "path": "", "value": {}}]),
        ("PUT", {"metadata": {"name": "market"}, "spec": {}}),
    ],
)
def test_a_write_to_spec_is_found_even_if_it_was_refused(method: str, body: object) -> None:
    with pytest.raises(AssertionError, match="I6: the spec of a TrainingRun was written"):
        assert_invariants(log(exchange(method, f"{RUNS}/market", body=body, status=422)), [])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{RUNS}/market", {"metadata": {"annotations": {"a": "b"}}}),
        (f"{RUNS}/market", [{"op": "add", "path": "/metadata/labels/a", "value": "b"}]),
        (f"{RUNS}/market/status", {"status": {"phase": "Running"}}),
        (JOBS + "/market-0a1b2c3d-1", {"spec": {"suspend": False}}),
    ],
)
def test_other_writes_are_no_writes_to_spec(path: str, body: object) -> None:
    assert violations(log(exchange("PATCH", path, body=body)), []) == []


@pytest.mark.parametrize(
    "exchanges",
    [
        (created(),),
        (journalled(status=409), created()),
        (journalled(state="Done"), created()),
        (journalled(launch=2), created()),
        (journalled("EndLaunch"), created()),
        (journalled(), journalled(state="Void"), created()),
        (created(), journalled()),
        (journalled(), created(uid=OTHER_UID)),
        (journalled(), deleted()),
        (journalled("EndLaunch", launch=2), deleted()),
    ],
)
def test_what_was_not_journalled_before_is_found(exchanges: tuple[Exchange, ...]) -> None:
    with pytest.raises(AssertionError, match="I7: not in the journal when it was sent"):
        assert_invariants(log(*exchanges), [])


def test_a_create_that_is_sent_before_its_journal_is_committed_is_found() -> None:
    write, create = log(journalled(), created())
    write.ended = create.began + 1
    with pytest.raises(AssertionError, match="I7"):
        assert_invariants([write, create], [])


def test_a_write_in_a_quiet_time_is_found() -> None:
    lease = exchange("PATCH", "/apis/coordination.k8s.io/v1/namespaces/team/leases/trainmaster", body={})
    assert_quiet(log(lease, exchange("GET", RUNS)))
    with pytest.raises(AssertionError, match="I8"):
        assert_quiet(log(lease, journalled()))


def test_the_observer_sees_every_state(server: ApiServerDouble) -> None:
    server.put(f"{RUNS}/early")
    with observing(server, "team") as history:
        for launch in range(1, 5):
            server.put(f"{RUNS}/market", status={"launch": launch})
        server.put(f"{JOBS}/j")
        server.delete(f"{JOBS}/j")
        history.wait_for(lambda: len(history.states) == 7, what="seven states")
        launches = [s.object["status"]["launch"] for s in history.states if s.object["metadata"]["name"] == "market"]
        assert launches == [1, 2, 3, 4]
        assert [s.type for s in history.states if s.kind == "Job"] == ["ADDED", "DELETED"]
        assert history.objects("Job") == []
        assert history.newest("TrainingRun", "market")["status"] == {"launch": 4}
        server.close_listener()
        with pytest.raises((ClientError, ConnectionError)):
            history.wait_for(lambda: False, what="a history with a gap")
