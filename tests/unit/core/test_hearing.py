"""What is said of a launch whose pod runs: heard, not heard yet, silent, or over before its Job is."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.support.runs import T0, at, conditions_of, job_of, look, point_of, run_of, status_of, trainer_of
from trainmaster.api.conditions import DecisionKind, Phase, Reason
from trainmaster.api.trainingrun import TrainingRunStatus
from trainmaster.core.run.changes import QUIET_WRITE_SECONDS, write_due
from trainmaster.core.run.hearing import SILENT_SECONDS
from trainmaster.core.run.words import WORDS_MAX
from trainmaster.core.snapshot import TrainerState

RUNNING = status_of(running_time=T0, start_time=T0)
OVER = job_of(pod_ended=True)


def said(status: TrainingRunStatus) -> str:
    (ready,) = [c for c in status.conditions if c.type == "Ready"]
    assert (status.phase, ready.reason, ready.status) == (Phase.RUNNING, Reason.RUNNING, "True")
    return ready.message


def seen(status: TrainingRunStatus, *, now: datetime = T0, trainer: TrainerState | None = None) -> TrainingRunStatus:
    return look(run_of(status=status), job_of(), now=now, trainer=trainer).status


def test_a_pod_that_runs_is_not_said_to_train_before_it_was_heard() -> None:
    result = look(run_of(status=RUNNING), job_of())

    assert said(result.status) == "the pod runs; no report yet"
    assert result.wake_at == at(SILENT_SECONDS)


def test_one_that_stays_silent_says_since_when_and_where_to_look() -> None:
    silent = seen(seen(RUNNING), now=at(SILENT_SECONDS))
    assert said(silent).startswith("no report since the pod began at 2026-03-01T12:00:00Z: is TRAINMASTER_REPORT_URL")

    later = look(run_of(status=silent), job_of(), now=at(9000))
    assert later.status == silent, "nothing is written while nothing changes"
    assert later.wake_at is None


def test_a_report_ends_the_silence() -> None:
    silent = seen(RUNNING, now=at(SILENT_SECONDS))
    heard = seen(silent, now=at(60), trainer=trainer_of(heard_at=at(60)))

    assert said(heard) == "training"
    due = write_due(silent, heard, last_write=at(59), now=at(60))
    assert due == at(59 + QUIET_WRITE_SECONDS)


def test_one_that_was_heard_and_falls_silent_says_since_when() -> None:
    trainer = trainer_of(heard_at=at(100))
    result = look(run_of(status=RUNNING), job_of(), now=at(101), trainer=trainer)
    assert (said(result.status), result.wake_at) == ("training", at(100 + SILENT_SECONDS))

    silent = seen(result.status, now=at(100 + SILENT_SECONDS), trainer=trainer)
    assert said(silent).startswith("no report since the last one, of 2026-03-01T12:01:40Z: is")


@pytest.mark.parametrize("recalled", [None, trainer_of()], ids=["nothing kept", "from a series on disk"])
def test_an_operator_that_has_just_begun_does_not_say_that_a_launch_was_never_heard(
    recalled: TrainerState | None,
) -> None:
    heard = seen(RUNNING, now=at(60), trainer=trainer_of(heard_at=at(60)))

    assert said(seen(heard, now=at(9000), trainer=recalled)) == "training"


def test_one_whose_storage_refuses_says_what_and_trains_on() -> None:
    full = trainer_of(heard_at=T0, storage="a checkpoint could not be written:\nNo space left on device")
    status = seen(RUNNING, trainer=full)
    words = "training, but storage fails: a checkpoint could not be written: No space left on device"
    assert said(status) == words
    assert seen(status, now=at(10), trainer=full) == status, "nothing is written while nothing changes"

    assert said(seen(status, now=at(10), trainer=None)) == words, "nobody knows better yet"
    assert said(seen(status, now=at(10), trainer=trainer_of(heard_at=at(10)))) == "training"
    assert said(seen(status, now=at(SILENT_SECONDS), trainer=full)).startswith("no report since the last one")


def test_words_of_storage_are_cut_for_status() -> None:
    assert len(said(seen(RUNNING, trainer=trainer_of(heard_at=T0, storage="x" * 10_000)))) == WORDS_MAX


def test_reports_of_an_earlier_launch_are_none_of_this_one() -> None:
    earlier = trainer_of(launch=1, heard_at=at(99))
    status = status_of(launch=2, running_time=at(100))
    result = look(run_of(status=status), job_of(launch=2), now=at(101), trainer=earlier)

    assert said(result.status) == "the pod runs; no report yet"


def test_between_the_end_of_the_pod_and_that_of_the_job_the_run_is_still_running() -> None:
    status = look(run_of(status=RUNNING), OVER, now=at(60)).status

    assert said(status) == "the pod has ended, the Job is being closed"
    assert conditions_of(status) == {"Ready": "True", "Succeeded": "Unknown"}


def test_what_has_ended_is_neither_corrected_nor_ended_by_a_deadline() -> None:
    point = point_of(10, grad_norm=float("nan"), loss=1.0)
    run = run_of(status=RUNNING, activeDeadlineSeconds=60)
    alive = look(run, job_of(), now=at(30), points=(point,), trainer=trainer_of()).status
    assert [d.kind for d in alive.decisions] == [DecisionKind.ADJUST], "a pod that runs is corrected"
    late = look(run, job_of(), now=at(60)).status
    assert [d.kind for d in late.decisions] == [DecisionKind.END_LAUNCH], "and ended in time"

    over = look(run, OVER, now=at(60), points=(point,), trainer=trainer_of()).status
    assert over.decisions == ()
