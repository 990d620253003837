"""The loop: nothing happens that is not committed, news is written soon, mere progress seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.support.runs import (
    T0,
    UID,
    at,
    job_of,
    message_of,
    record_of,
    run_of,
    status_of,
    trainer_of,
    verdict_of,
)
from trainmaster.api.objects import Key
from trainmaster.api.plan import Plan
from trainmaster.api.runrecord import RunRecordSpec
from trainmaster.api.trainingrun import TrackingStatus, TrainingRun, TrainingRunStatus
from trainmaster.core.journal import open_decisions
from trainmaster.core.run.changes import QUIET_WRITE_SECONDS
from trainmaster.core.run.records import unwritten
from trainmaster.core.series import Point
from trainmaster.core.snapshot import CreateJob, DeleteJob, Event, ObservedJob, TrainerState, WriteRecord
from trainmaster.ports.cluster import Cluster, ConflictError, Observation, RefusedEffectError
from trainmaster.shell.reconcile import REFUSED_SECONDS, RESYNC_SECONDS, Reconciler

KEY = Key("default", "market")


class World:
    """A Cluster in memory with a cache that may be stale, a clock and a series; `log` notes what was asked of it."""

    def __init__(self, run: TrainingRun, *jobs: ObservedJob) -> None:
        self.run: TrainingRun | None = run.model_copy(
            update={"metadata": run.metadata.model_copy(update={"resource_version": "1"})}
        )
        self.jobs = list(jobs)
        self.always_live = False
        self.conflicts = 0
        self.time = T0
        self.trainer: TrainerState | None = None
        self.tracked: TrackingStatus | None = None
        self.records: dict[str, RunRecordSpec] = {}
        self.earlier: RunRecordSpec | None = None
        self.refuses_records = False
        self.refuses_jobs = ""
        """Why Jobs are neither created nor deleted; empty: they are."""
        self.log: list[str] = []
        self.events: list[Event] = []
        self.reconciler = Reconciler(cluster=self, clock=self, series=self)

    def reconcile(self) -> datetime | None:
        """One pass; what was logged before is forgotten."""
        self.log.clear()
        return asyncio.run(self.reconciler.reconcile(KEY))

    def settle(self) -> None:
        """Passes until nothing is due at once, and ten more seconds pass."""
        for _ in range(20):
            again = self.reconcile()
            if again is None or again > self.time:
                break
        self.pass_time(QUIET_WRITE_SECONDS + 1)

    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    @property
    def writes(self) -> int:
        return self.log.count("write")

    # -- clock, series --
    def now(self) -> datetime:
        return self.time

    def trainer_state(self, run: TrainingRun) -> TrainerState | None:
        assert run.metadata.uid == UID
        return self.trainer

    def points(self, run: TrainingRun) -> tuple[Point, ...]:
        assert run.metadata.uid == UID
        return ()

    def tracking(self, run: TrainingRun) -> TrackingStatus | None:
        assert run.metadata.uid == UID
        return self.tracked

    # -- Cluster --
    async def observe(self, key: Key, *, live: bool) -> Observation | None:
        assert key == KEY
        self.log.append("look" if live else "glance")
        if self.run is None:
            return None
        return Observation(
            run=self.run,
            jobs=tuple(self.jobs),
            recorded=frozenset(self.records),
            earlier=self.earlier,
            live=live or self.always_live,
        )

    async def write_status(self, run: TrainingRun, status: TrainingRunStatus) -> TrainingRun:
        assert self.run is not None
        if self.conflicts:
            self.conflicts -= 1
            version = str(int(self.run.metadata.resource_version) + 1)
            metadata = self.run.metadata.model_copy(update={"resource_version": version})
            self.run = self.run.model_copy(update={"metadata": metadata})
        if run.metadata.resource_version != self.run.metadata.resource_version:
            self.log.append("conflict")
            raise ConflictError("changed")
        self.log.append("write")
        version = str(int(run.metadata.resource_version) + 1)
        metadata = run.metadata.model_copy(update={"resource_version": version})
        self.run = run.model_copy(update={"status": status, "metadata": metadata})
        return self.run

    async def create_job(self, run: TrainingRun, effect: CreateJob) -> None:
        self.log.append("create")
        self._refuse()
        assert run == self.run, "an effect is of the object as it is stored"
        self.jobs.append(job_of("Pending", launch=effect.plan.launch, name=effect.name))

    async def delete_job(self, run: TrainingRun, effect: DeleteJob) -> None:
        assert run.metadata.uid == UID
        self.log.append("delete")
        self._refuse()
        self.jobs = [job for job in self.jobs if job.uid != effect.uid]

    def _refuse(self) -> None:
        if self.refuses_jobs:
            raise RefusedEffectError(reason="Forbidden", message=self.refuses_jobs)

    async def write_record(self, run: TrainingRun, effect: WriteRecord) -> None:
        assert run.metadata.uid == UID
        self.log.append("record")
        if self.refuses_records:
            raise PermissionError("runrecords is forbidden")
        self.records[effect.name] = effect.record

    async def emit(self, run: TrainingRun, events: Sequence[Event]) -> None:
        assert run.metadata.uid == UID
        if events:
            self.log.append("tell")
        self.events += events

    def localise(self, plan: Plan) -> Plan:
        return plan


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


def training() -> World:
    world = World(run_of(), job_of("Running", launch=1))
    world.run = run_of(status=status_of(start_time=T0, running_time=T0), meta={"resource_version": "1"})
    world.settle()
    world.trainer = trainer_of(step=1)
    world.reconcile()
    return world


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


def finished() -> World:
    """A run whose end is not recorded yet."""
    ending = job_of("Complete", message=message_of(verdict_of()))
    world = World(run_of(status=status_of(start_time=T0)), ending)
    world.reconcile()
    assert world.run is not None
    assert unwritten(world.run.status)
    return world


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


NO_RIGHT = 'POST .../jobs: 403 cannot create resource "jobs"'


def refused() -> World:
    """A run whose Job nobody may create, and which says so."""
    world = World(run_of())
    world.refuses_jobs = NO_RIGHT
    while world.reconcile() == world.time:
        pass
    return world


def standing(world: World) -> tuple[str, str, str]:
    assert world.run is not None
    ready = next(condition for condition in world.run.status.conditions if condition.type == "Ready")
    return world.run.status.phase, ready.reason, ready.message


def test_a_run_whose_job_is_refused_says_so_at_once_and_only_once() -> None:
    world = refused()
    assert standing(world) == ("Pending", "JobRefused", NO_RIGHT)
    assert [(event.type, event.message) for event in world.events if event.reason == "JobRefused"] == [
        ("Warning", NO_RIGHT)
    ]
    assert world.run is not None
    assert open_decisions(world.run.status, "Launch"), "what was decided is still to be done"


def test_a_refused_effect_is_tried_again_slowly_however_often_the_run_is_woken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = refused()
    last_try = world.time
    caplog.clear()
    for _ in range(REFUSED_SECONDS - 1):
        world.pass_time(1)
        assert world.reconcile() == last_try + timedelta(seconds=REFUSED_SECONDS)
        assert {"create", "write", "tell"}.isdisjoint(world.log)
    world.pass_time(1)
    world.reconcile()
    assert (world.log.count("create"), world.writes) == (1, 0)
    assert [record.getMessage() for record in caplog.records] == [f"default/market: {NO_RIGHT}; again in 30 s"]


def test_other_words_of_a_refusal_are_told_too() -> None:
    world = refused()
    world.refuses_jobs = "exceeded quota"
    world.pass_time(REFUSED_SECONDS)
    world.settle()
    assert standing(world)[2] == "exceeded quota"


def test_a_run_goes_on_by_itself_when_its_job_is_not_refused_any_more() -> None:
    world = refused()
    world.refuses_jobs = ""
    world.pass_time(REFUSED_SECONDS)
    world.settle()
    assert [job.launch for job in world.jobs] == [1]
    assert standing(world)[1] == "Starting"


def test_a_refused_launch_that_is_not_wanted_any_more_leaves_no_trace() -> None:
    world = refused()
    assert world.run is not None
    world.run = world.run.model_copy(update={"spec": run_of(suspend=True).spec})
    world.settle()
    assert standing(world)[:2] == ("Suspended", "Suspended")
    world.run = world.run.model_copy(update={"spec": run_of().spec})
    world.settle()
    world.refuses_jobs = ""
    world.pass_time(REFUSED_SECONDS)
    world.settle()
    assert [job.launch for job in world.jobs] == [2]


def test_a_job_that_may_not_be_deleted_keeps_running_and_says_so() -> None:
    world = training()
    world.refuses_jobs = "cannot delete resource jobs"
    assert world.run is not None
    world.run = world.run.model_copy(update={"spec": run_of(suspend=True).spec})
    world.settle()
    assert standing(world) == ("Running", "JobRefused", "cannot delete resource jobs")
    assert [job.launch for job in world.jobs] == [1]


def test_a_refused_job_holds_no_record_up() -> None:
    world = finished()
    assert world.run is not None
    world.run = world.run.model_copy(update={"spec": run_of(rerun="again").spec})
    world.refuses_jobs = NO_RIGHT
    world.settle()
    assert list(world.records) == [record_of().name]
    assert standing(world)[1] == "JobRefused"


def test_another_run_of_the_same_name_inherits_no_refusal() -> None:
    world = refused()
    world.run = None
    assert world.reconcile() is None
    world.run = run_of(meta={"resource_version": "1"})
    world.refuses_jobs = ""
    world.settle()
    assert [job.launch for job in world.jobs] == [1]


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
