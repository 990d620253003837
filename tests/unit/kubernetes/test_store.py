"""What the watches keep: versions, deletions, names that are used again, and who is woken by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kubernetes_objects import CONTROLLER, ReflectedRuns, job_json, record_json, run_json, running_pod
from tests.support.runs import UID, decision_of
from trainmaster.adapters.kubernetes import store
from trainmaster.adapters.kubernetes.records import RecordIndex
from trainmaster.adapters.kubernetes.store import Stores, UnreadableRunError, new_stores, parse_run
from trainmaster.api.objects import Key

Json = dict[str, Any]
MARKET = Key("default", "market")


class Bench:
    """Empty stores, and what they have told."""

    def __init__(self) -> None:
        self.woken: list[Key] = []
        self.gone: list[str] = []
        self.stores: Stores = new_stores(self.woken.append, gone=self.gone.append)
        self.runs, self.jobs, self.pods = self.stores.runs, self.stores.jobs, self.stores.pods

    def version(self, key: Key = MARKET) -> str:
        """Version of the stored run; empty for none."""
        run = self.runs.get(key)
        return run.metadata.resource_version if run is not None else ""

    def uids(self) -> set[str]:
        """UIDs of the stored runs."""
        raws = [self.runs.raw(key) or {} for key in self.runs.keys()]  # noqa: SIM118 - a store is no mapping
        return {raw["metadata"]["uid"] for raw in raws}

    def job_versions(self) -> dict[str, int]:
        return {job.uid: job.version for job in self.jobs.of_run("default", UID)}


# -- versions -----------------------------------------------------------------------------------------------------


def test_what_is_watched_counts_only_if_it_is_newer_and_wakes_only_then() -> None:
    bench = Bench()
    for version in (5, 5, 3, 7):
        bench.runs.put(run_json(version=version))
        bench.jobs.put(job_json(version=version, status={"active": version}), listed=False)

    assert (bench.version(), bench.job_versions()) == ("7", {"job-uid": 7})
    assert bench.woken == [MARKET] * 4


def test_what_is_listed_counts_even_if_it_is_older_since_a_backup_may_have_been_restored() -> None:
    bench = Bench()
    for version, listed in ((7, False), (5, True), (5, True)):
        bench.runs.put(run_json(version=version), asked=bench.runs.moment if listed else None)
        bench.jobs.put(job_json(version=version, status={"active": version}), listed=listed)

    assert (bench.version(), bench.job_versions()) == ("5", {"job-uid": 5})
    assert bench.woken == [MARKET] * 4


def test_an_answer_that_comes_after_a_newer_change_was_watched_takes_nothing_back() -> None:
    bench = Bench()
    bench.runs.put(run_json(version=5))
    asked = bench.runs.moment
    bench.runs.put(run_json(version=9))
    bench.runs.put(run_json(version=7), asked=asked)
    assert bench.version() == "9", "its user has edited it while our write of version 7 was answered"

    bench.runs.put(run_json(version=7), asked=bench.runs.moment)
    assert bench.version() == "7", "this one was asked for later: a backup was restored"


def test_an_answer_that_comes_after_the_deletion_was_watched_brings_nothing_back() -> None:
    bench = Bench()
    bench.runs.put(run_json(version=5))
    asked = bench.runs.moment
    bench.runs.remove(run_json(version=6))
    bench.runs.put(run_json(version=5), asked=asked)
    assert bench.version() == ""


def test_a_change_that_says_nothing_about_a_job_wakes_nobody() -> None:
    bench = Bench()
    bench.jobs.put(job_json(version=1), listed=False)
    bench.jobs.put(job_json(version=2, status={"ready": 1}), listed=False)
    assert (bench.job_versions(), bench.woken) == ({"job-uid": 2}, [MARKET])


def test_a_new_version_is_parsed_anew() -> None:
    bench = Bench()
    bench.runs.put(run_json(version=1))
    first = bench.runs.get(MARKET)
    assert bench.runs.get(MARKET) is first
    bench.runs.put(run_json(version=2, suspend=True))

    run = bench.runs.find(UID)
    assert run is not None
    assert run.spec.suspend


# -- deletions ----------------------------------------------------------------------------------------------------


def test_a_reply_that_comes_after_the_deletion_brings_nothing_back() -> None:
    bench = Bench()
    for item, put, remove in (
        (run_json(version=5), bench.runs.put, bench.runs.remove),
        (job_json(version=5), lambda item: bench.jobs.put(item, listed=False), bench.jobs.remove),
        (running_pod(version=5), lambda item: bench.pods.put(item, listed=False), bench.pods.remove),
    ):
        put(item)
        remove(item)
        item["metadata"]["resourceVersion"] = "9"
        put(item)

    assert (bench.runs.keys(), bench.runs.find(UID)) == ((), None)
    assert (bench.jobs.of_run("default", UID), bench.pods.of_run("default", UID)) == ((), ())
    assert bench.gone == [UID]


def test_a_deletion_counts_also_before_the_object_was_ever_seen() -> None:
    bench = Bench()
    bench.jobs.remove(job_json(version=5))
    bench.jobs.put(job_json(version=4), listed=False)

    assert bench.job_versions() == {}
    assert bench.woken == []


def test_a_restored_backup_brings_back_what_a_list_then_shows() -> None:
    bench = Bench()
    bench.runs.put(run_json(version=5))
    bench.runs.remove(run_json(version=6))
    bench.jobs.remove(job_json(version=6))
    bench.runs.put(run_json(version=5), asked=bench.runs.moment)
    bench.jobs.put(job_json(version=5), listed=True)

    assert (bench.version(), bench.job_versions()) == ("5", {"job-uid": 5})
    bench.runs.put(run_json(version=6))
    assert bench.version() == "6", "watched changes of it count again"


def test_old_deletions_are_forgotten_and_newer_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "REMEMBERED_DELETIONS", 2)
    bench = Bench()
    for uid in ("a", "b", "c"):
        bench.jobs.remove(job_json(uid=uid))
    for uid in ("a", "b", "c"):
        bench.jobs.put(job_json(uid=uid), listed=False)

    assert set(bench.job_versions()) == {"a"}


def test_of_a_run_that_is_gone_is_told_once_whatever_says_so() -> None:
    bench = Bench()
    bench.runs.put(run_json())
    bench.runs.forget(MARKET, uid=UID)
    bench.runs.remove(run_json())
    bench.runs.retain(frozenset(), asked=bench.runs.moment)
    bench.runs.forget(MARKET, uid=UID)

    assert bench.gone == [UID]
    assert bench.woken == [MARKET, MARKET]


def test_a_complete_list_forgets_the_rest_and_wakes_whom_it_concerns() -> None:
    bench = Bench()
    for name in ("kept", "lost"):
        bench.runs.put(run_json(name, uid=name))
        bench.jobs.put(job_json(uid=name, ownerReferences=[CONTROLLER | {"name": name, "uid": name}]), listed=False)
    bench.woken.clear()
    bench.runs.retain(frozenset({"kept"}), asked=bench.runs.moment)
    bench.jobs.retain(frozenset({"kept"}))

    assert bench.runs.keys() == (Key("default", "kept"),)
    assert (len(bench.jobs.of_run("default", "kept")), len(bench.jobs.of_run("default", "lost"))) == (1, 0)
    assert (bench.gone, bench.woken) == (["lost"], [Key("default", "lost")] * 2)


# -- names that are used again ------------------------------------------------------------------------------------


def test_a_new_run_of_an_old_name_is_another_run() -> None:
    bench = Bench()
    bench.runs.put(run_json(uid="old", version=5))
    bench.runs.put(run_json(uid="new", version=8))
    bench.runs.remove(run_json(uid="old", version=7))

    found = bench.runs.get(MARKET)
    assert found is not None
    assert (found.metadata.uid, bench.gone, len(bench.runs)) == ("new", ["old"], 1)
    assert bench.runs.find("old") is None


@pytest.mark.parametrize("listed", [False, True])
def test_a_late_reply_about_the_old_run_does_not_displace_the_new_one(*, listed: bool) -> None:
    bench = Bench()
    bench.runs.put(run_json(uid="old", version=5))
    bench.runs.put(run_json(uid="new", version=8), asked=bench.runs.moment if listed else None)
    bench.runs.put(run_json(uid="old", version=6))

    found = bench.runs.get(MARKET)
    assert found is not None
    assert found.metadata.uid == "new"


def test_a_name_finds_the_newest_job_that_had_it_even_when_the_older_one_goes_later() -> None:
    bench = Bench()
    name = job_json()["metadata"]["name"]
    bench.jobs.put(job_json(uid="old", version=5), listed=False)
    bench.jobs.put(job_json(uid="new", version=8), listed=False)
    bench.jobs.remove(job_json(uid="old", version=7))

    found = bench.jobs.named(Key("default", name))
    assert found is not None
    assert (found.uid, set(bench.job_versions())) == ("new", {"new"})


def test_a_job_that_loses_its_owner_is_nobodys_and_its_run_is_woken() -> None:
    bench = Bench()
    bench.jobs.put(job_json(version=1), listed=False)
    bench.jobs.put(job_json(version=2, ownerReferences=[]), listed=False)

    assert bench.jobs.of_run("default", UID) == ()
    assert bench.woken == [MARKET] * 2
    bench.jobs.remove(job_json(version=3))
    assert bench.jobs.of_run("default", "") == ()


# -- waking -------------------------------------------------------------------------------------------------------


def test_a_job_wakes_the_run_that_controls_it_and_a_pod_the_one_that_it_names() -> None:
    bench = Bench()
    bench.jobs.put(job_json(ownerReferences=[CONTROLLER | {"name": "one"}]), listed=False)
    bench.pods.put(running_pod(annotations={"trainmaster.io/run-name": "two"}, namespace="team"), listed=False)

    assert bench.woken == [Key("default", "one"), Key("team", "two")]


def test_objects_of_nobody_wake_nobody() -> None:
    bench = Bench()
    bench.jobs.put(job_json(ownerReferences=[]), listed=False)
    bench.pods.put(running_pod(annotations={}), listed=False)

    assert bench.woken == []


# -- reading ------------------------------------------------------------------------------------------------------


def test_only_so_many_runs_are_kept_parsed_the_least_used_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PARSED", 2)
    parsed: Counter[str] = Counter()
    parse = store.parse_run

    def counting(raw: Json) -> object:
        parsed[raw["metadata"]["name"]] += 1
        return parse(raw)

    monkeypatch.setattr(store, "parse_run", counting)
    bench = Bench()
    for name in "abc":
        bench.runs.put(run_json(name, uid=name))
    for name in "abacacab":
        bench.runs.get(Key("default", name))

    assert parsed == {"a": 1, "b": 2, "c": 1}


def test_a_run_that_cannot_be_read_says_why_and_what_to_do_and_its_json_is_there() -> None:
    bench = Bench()
    bench.runs.put(run_json(workload=7))

    with pytest.raises(UnreadableRunError, match=r"default/market: spec\.workload: .*; got 7: apply a manifest that"):
        bench.runs.get(MARKET)
    raw = bench.runs.raw(MARKET)
    assert raw is not None
    assert raw["spec"]["workload"] == 7
    assert "managedFields" not in raw["metadata"]


def test_fields_that_only_a_newer_version_knows_do_not_make_a_run_unreadable() -> None:
    bench = Bench()
    bench.runs.put(run_json(brandNew={"a": 1}))

    assert bench.version() == "1"


def test_what_a_newer_version_wrote_into_status_is_kept_at_every_depth() -> None:
    decision = decision_of("Postpone", state="Waiting").to_wire() | {"horizon": "far"}
    status = {"observedGeneration": 1, "forecast": {"steps": 5}, "decisions": [decision]}

    kept = parse_run(run_json() | {"status": status}).status.to_wire()

    assert kept["forecast"] == {"steps": 5}
    assert kept["decisions"] == [decision]


def test_a_status_that_cannot_be_read_says_where() -> None:
    with pytest.raises(UnreadableRunError, match=r"default/market: status\.launch: .*; got 'one'"):
        parse_run(run_json() | {"status": {"launch": "one"}})


# -- any order ----------------------------------------------------------------------------------------------------


class Put(Protocol):
    def __call__(self, item: Json, *, listed: bool) -> None: ...


class Cache(Protocol):
    """What a reflector and replies do with a cache."""

    @property
    def put(self) -> Put: ...
    @property
    def remove(self) -> Callable[[Json], None]: ...
    @property
    def retain(self) -> Callable[[frozenset[str]], None]: ...


UIDS = ("one", "two", "three", "four")
NAMES = {"one": "a", "two": "a", "three": "b", "four": "b"}
CHANGES = st.one_of(
    st.tuples(st.sampled_from(["watched", "listed", "removed"]), st.sampled_from(UIDS), st.integers(1, 9)),
    st.tuples(st.just("retained"), st.sets(st.sampled_from(UIDS)), st.just(0)),
)
LISTS = st.lists(st.tuples(st.sampled_from(UIDS), st.integers(1, 9)), unique_by=lambda item: NAMES[item[0]])
"""A list shows each name once."""


def tell(cache: Cache, make: Callable[[str, int], Json], changes: list[Any], listed: list[tuple[str, int]]) -> None:
    for kind, about, version in changes:
        match kind:
            case "removed":
                cache.remove(make(about, version))
            case "retained":
                cache.retain(frozenset(about))
            case _:
                cache.put(make(about, version), listed=kind == "listed")
    for uid, version in listed:
        cache.put(make(uid, version), listed=True)
    cache.retain(frozenset(uid for uid, _ in listed))


@given(changes=st.lists(CHANGES, max_size=12), listed=LISTS)
def test_whatever_happened_before_a_complete_list_is_what_is_known_after_it(
    changes: list[Any], listed: list[tuple[str, int]]
) -> None:
    bench, records = Bench(), RecordIndex()

    tell(
        ReflectedRuns(bench.runs), lambda uid, version: run_json(NAMES[uid], uid=uid, version=version), changes, listed
    )
    tell(bench.jobs, lambda uid, version: job_json(name=NAMES[uid], uid=uid, version=version), changes, listed)
    tell(records, lambda uid, _: record_json(NAMES[uid], uid=uid), changes, listed)

    names = {NAMES[uid] for uid, _ in listed}
    keys = {Key("default", name) for name in names}
    raws = [bench.runs.raw(key) or {} for key in bench.runs.keys()]  # noqa: SIM118 - a store is no mapping
    assert {(raw["metadata"]["uid"], int(raw["metadata"]["resourceVersion"])) for raw in raws} == set(listed)
    assert set(bench.runs.keys()) == keys
    assert bench.job_versions() == dict(listed)
    named = [bench.jobs.named(key) for key in keys]
    assert {job.uid for job in named if job is not None} == {uid for uid, _ in listed}
    assert records.there("default", frozenset("ab")) == names


@given(changes=st.lists(CHANGES, max_size=12))
def test_each_run_that_is_not_known_any_more_is_told_of_just_then(changes: list[Any]) -> None:
    bench = Bench()
    for kind, about, version in changes:
        before, told = bench.uids(), len(bench.gone)
        if kind == "removed":
            bench.runs.remove(run_json(NAMES[about], uid=about, version=version))
        elif kind == "retained":
            bench.runs.retain(frozenset(about), asked=bench.runs.moment)
        else:
            asked = bench.runs.moment if kind == "listed" else None
            bench.runs.put(run_json(NAMES[about], uid=about, version=version), asked=asked)
        assert sorted(bench.gone[told:]) == sorted(before - bench.uids())


def test_what_names_a_run_of_another_namespace_is_not_of_that_run() -> None:
    bench = Bench()
    bench.jobs.put(job_json(namespace="evil", uid="forged"), listed=False)
    assert bench.jobs.of_run("default", UID) == ()
    assert [job.uid for job in bench.jobs.of_run("evil", UID)] == ["forged"]


def test_a_list_forgets_nothing_that_came_after_it_was_begun_and_nothing_of_another_namespace() -> None:
    bench = Bench()
    bench.runs.put(run_json("known", uid="known"))
    other = run_json("other", uid="other")
    other["metadata"]["namespace"] = "other"
    bench.runs.put(other)
    asked = bench.runs.moment
    bench.runs.put(run_json("new", uid="new"))
    bench.runs.retain(frozenset(), asked=asked, namespace="default")
    assert bench.uids() == {"new", "other"}
