"""Refused effects: told at once and once, tried again slowly, and gone when they are not refused any more."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.reconciled import World, finished, training
from tests.support.runs import (
    record_of,
    run_of,
)
from trainmaster.core.journal import open_decisions
from trainmaster.ports.cluster import NAMESPACE_TERMINATING
from trainmaster.shell.reconcile import LEAVING_SECONDS, REFUSED_SECONDS

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


def test_what_a_namespace_that_is_being_deleted_refuses_is_not_asked_for_every_half_minute() -> None:
    world = World(run_of())
    world.refuses_jobs, world.refusal_reason = "the namespace is being deleted", NAMESPACE_TERMINATING
    while world.reconcile() == world.time:
        pass

    assert standing(world) == ("Pending", "JobRefused", "the namespace is being deleted")
    world.pass_time(REFUSED_SECONDS)
    world.reconcile()
    assert "create" not in world.log
    world.pass_time(LEAVING_SECONDS)
    world.reconcile()
    assert "create" in world.log, "a namespace is not judged for ever by one answer"
