"""The loop: nothing happens that is not committed, news is written soon, mere progress seldom."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.reconciled import World, finished, training
from tests.support.runs import (
    T0,
    UID,
    at,
    job_of,
    record_of,
    run_of,
    status_of,
    trainer_of,
)
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrackingStatus
from trainmaster.core.run.changes import QUIET_WRITE_SECONDS
from trainmaster.ports.cluster import Cluster, Observation
from trainmaster.shell.reconcile import RESYNC_SECONDS, Reconciler


def test_the_fake_is_a_cluster() -> None:
    cluster: Cluster = World(run_of())
    assert cluster is not None


def test_a_launch_is_committed_told_and_only_in_the_next_pass_carried_out() -> None:
    world = World(run_of())
    assert world.reconcile() == world.time
    assert world.log == ["glance", "look", "write", "tell"]
    world.reconcile()
    assert "create" in world.log
    assert [job.launch for job in world.jobs] == [1]


def test_after_a_conflict_nothing_is_told_or_done_and_it_is_decided_again_at_once() -> None:
    world = World(run_of())
    world.reconcile()
    world.conflicts = 1
    world.pass_time(1)
    world.run = None if world.run is None else world.run.model_copy(update={"spec": run_of(suspend=True).spec})
    assert world.reconcile() == world.time
    assert world.log[-1] == "conflict"
    assert world.jobs == []
    assert len(world.events) == 1
    world.reconcile()
    assert world.writes == 1


def test_a_conflict_keeps_back_effects_of_decisions_that_stood_before() -> None:
    world = World(run_of())
    world.reconcile()
    # The status write of this pass fails: the run was changed under it, so what stood may stand no more.
    world.tracked = TrackingStatus(experiment_id="1", run_id="r")
    world.conflicts = 1
    world.reconcile()
    assert "create" not in world.log


def test_a_look_at_the_server_is_asked_for_once() -> None:
    world = World(run_of())
    world.reconcile()
    assert world.log.count("look") == 1


def test_no_look_where_the_first_answer_is_live() -> None:
    world = World(run_of())
    world.always_live = True
    world.reconcile()
    assert world.log.count("look") == 0


def test_a_run_that_is_gone_is_left_alone() -> None:
    world = World(run_of())
    world.run = None
    assert world.reconcile() is None
    assert world.log == ["glance"]


def test_progress_alone_is_written_at_most_every_ten_seconds() -> None:
    world = training()
    written = []
    for second in range(1, 31):
        world.pass_time(1)
        world.trainer = trainer_of(step=1 + second)
        world.reconcile()
        written.append(world.writes)
    assert sum(written) == 3
    assert world.run is not None
    assert world.run.status.progress is not None
    assert world.run.status.progress.step == 31


def test_progress_that_waits_is_written_when_its_time_comes() -> None:
    world = training()
    last = world.time
    world.pass_time(3)
    world.trainer = trainer_of(step=50)
    due = world.reconcile()
    assert world.writes == 0
    assert due == last + timedelta(seconds=QUIET_WRITE_SECONDS)
    world.time = due
    world.reconcile()
    assert world.writes == 1


def test_news_is_written_at_once_and_takes_waiting_progress_along() -> None:
    world = training()
    world.pass_time(1)
    world.trainer = trainer_of(step=50, crashes=1)
    world.reconcile()
    assert world.writes == 1
    assert world.run is not None
    assert world.run.status.progress is not None
    assert (world.run.status.crashes, world.run.status.progress.step) == (1, 50)


def test_a_new_process_writes_what_waits_at_once() -> None:
    world = training()
    world.trainer = trainer_of(step=50)
    world.reconciler = Reconciler(cluster=world, clock=world, series=world)
    world.reconcile()
    assert world.writes == 1


def test_where_nothing_changes_nothing_is_written() -> None:
    world = training()
    world.settle()
    world.reconcile()
    assert world.writes == 0


def test_a_living_run_is_looked_at_again_though_nothing_wakes_it() -> None:
    world = training()
    world.settle()
    assert world.reconcile() == world.time + timedelta(seconds=RESYNC_SECONDS)


def test_a_deadline_comes_before_the_next_look() -> None:
    world = training()
    assert world.run is not None
    spec = run_of(active_deadline_seconds=60).spec
    world.run = world.run.model_copy(update={"spec": spec})
    world.settle()
    world.time = at(50)
    world.settle()
    world.time = at(55)
    assert world.reconcile() == at(60)


def test_a_finished_run_is_not_looked_at_again() -> None:
    world = World(run_of())
    world.run = run_of(
        status=status_of(phase="Succeeded", completion_time=T0, launch_outcome="Completed"),
        meta={"resource_version": "1"},
    )
    world.settle()
    assert world.reconcile() is None


def test_a_port_that_answers_a_live_read_with_its_cache_is_a_bug_and_says_so() -> None:
    class Liar(World):
        async def observe(self, key: Key, *, live: bool) -> Observation | None:
            truth = await super().observe(key, live=live)
            return None if truth is None else replace(truth, live=False)

    with pytest.raises(AssertionError, match="cached data"):
        Liar(run_of()).reconcile()


def test_an_end_is_recorded_in_the_pass_after_its_commit_and_then_rests() -> None:
    world = finished()
    assert world.records == {}
    world.reconcile()
    assert (list(world.records), world.log) == ([record_of().name], ["glance", "look", "record"])
    world.reconcile()
    world.pass_time(QUIET_WRITE_SECONDS + 1)
    assert (world.reconcile(), world.log) == (None, ["glance"])


def test_a_record_that_is_refused_keeps_no_job_from_being_created() -> None:
    world = finished()
    assert world.run is not None
    world.run = world.run.model_copy(update={"spec": run_of(rerun="again").spec})
    world.refuses_records = True
    for _ in range(3):
        with pytest.raises(PermissionError):
            world.reconcile()
    assert [job.launch for job in world.jobs] == [1, 2]
    world.refuses_records = False
    world.settle()
    assert list(world.records) == [record_of().name]


def test_a_result_that_is_there_is_taken_over_without_a_job() -> None:
    world = World(run_of())
    world.earlier = record_of(run_uid="another")
    world.settle()
    assert world.run is not None
    assert (world.run.status.phase, world.jobs, world.records) == ("Succeeded", [], {})
    assert [event.reason for event in world.events] == ["AlreadyTrained"]


@pytest.mark.parametrize("skew", [timedelta(hours=-9), timedelta(days=-400), timedelta(days=400)])
def test_an_operator_whose_clock_is_wrong_goes_on_where_another_stopped(skew: timedelta) -> None:
    world = World(run_of())
    world.reconcile()
    world.time += skew
    world.reconciler = Reconciler(cluster=world, clock=world, series=world)
    world.settle()
    assert [job.launch for job in world.jobs] == [1]
    ended = job_of("Failed", launch=1, exit_code=137, ended_at=T0, running_since=T0)
    world.jobs = [replace(ended, name=world.jobs[0].name)]
    world.time -= skew
    world.reconciler = Reconciler(cluster=world, clock=world, series=world)
    world.settle()
    assert [job.launch for job in world.jobs] == [1, 2], "a crash is followed by a launch, without a pause of years"


def test_a_log_tells_each_piece_of_news_once_and_what_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world = training()
    world.settle()
    world.run = None if world.run is None else world.run.model_copy(update={"spec": run_of(suspend=True).spec})
    world.settle()

    told = [record for record in caplog.records if record.name == "trainmaster.shell.reconcile"]
    assert len(told) == len(world.events) > 2, "as many lines as Events: what is told to users is told here"
    assert [record.getMessage() for record in told] == [
        f"default/market: {event.reason}: {event.message}" for event in world.events
    ]
    about = {(getattr(r, "run", ""), getattr(r, "uid", ""), getattr(r, "launch", 0), r.levelname) for r in told}
    assert about == {("default/market", UID, 1, "INFO")}
    assert [getattr(record, "reason", "") for record in told] == [event.reason for event in world.events]
