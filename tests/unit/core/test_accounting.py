"""Each ending is taken into status once, and charged to the one who caused it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.runs import job_of, look, message_of, point_of, run_of, status_of, trainer_of, verdict_of
from trainmaster.api.conditions import Outcome, Phase, Reason
from trainmaster.core.snapshot import ObservedJob

# -- each ending is accounted for once --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "crashes", "disruptions"),
    [
        (job_of("Failed", exit_code=137), 1, 0),
        (job_of("Failed", exit_code=1, message=message_of(verdict_of("Failed", reason="Crashed"), crashes=4)), 4, 0),
        (job_of("Failed", exit_code=1, message=message_of(verdict_of("Failed", reason="Crashed"))), 1, 0),
        (job_of("Failed", exit_code=1), 1, 0),
        (job_of("Failed", exit_code=75, message=message_of(verdict_of("Retry"), crashes=2)), 2, 1),
        (job_of("Failed", disrupted=True), 0, 1),
    ],
    ids=["killed", "lease used up", "crashed, none told", "last words lost", "retry after crashes", "node lost"],
)
def test_an_ending_is_charged_once_however_often_the_operator_dies(
    *, job: ObservedJob, crashes: int, disruptions: int
) -> None:
    """A pass that was lost before its write is decided again from the same status; one after it is not."""
    run = run_of(status=status_of())
    first, repeated = look(run, job).status, look(run, job).status
    assert first == repeated
    assert (first.crashes, first.disruptions, first.launch) == (crashes, disruptions, 2)

    later = look(run_of(status=first), job).status
    assert (later.crashes, later.disruptions, later.launch) == (crashes, disruptions, 2)


def test_crashes_that_were_reported_are_not_counted_again_at_the_end() -> None:
    status = look(run_of(status=status_of()), job_of(), trainer=trainer_of(crashes=2)).status
    assert (status.crashes, status.launch_crashes) == (2, 2)
    status = look(run_of(status=status), job_of(), trainer=trainer_of(crashes=1)).status
    assert status.crashes == 2, "an older report changes nothing"

    spoken = message_of(verdict_of(Outcome.FAILED, reason=Reason.CRASHED), crashes=4)
    ended = look(run_of(status=status), job_of("Failed", exit_code=1, message=spoken)).status
    assert ended.crashes == 4


def test_last_words_that_were_lost_charge_no_crash_of_their_own() -> None:
    """Exit code 1 is that of a launcher that has told its crashes; one that is killed is a crash more."""
    status = look(run_of(status=status_of()), job_of(), trainer=trainer_of(crashes=4)).status
    assert look(run_of(status=status), job_of("Failed", exit_code=1)).status.crashes == 4
    assert look(run_of(status=status), job_of("Failed", exit_code=137)).status.crashes == 5


def test_last_words_that_came_by_report_alone_charge_no_crash_of_their_own() -> None:
    told = trainer_of(crashes=4, verdict=verdict_of(Outcome.FAILED, reason=Reason.CRASHED))
    assert look(run_of(status=status_of()), job_of("Failed", exit_code=137), trainer=told).status.crashes == 4


@pytest.mark.parametrize(("before", "phase"), [(19, Phase.PENDING), (20, Phase.FAILED)])
def test_the_crash_budget_allows_so_many_and_no_more(*, before: int, phase: str) -> None:
    status = look(run_of(status=status_of(crashes=before)), job_of("Failed", exit_code=137)).status
    assert (status.crashes, status.phase) == (before + 1, phase)
    assert phase == Phase.PENDING or status.launch_outcome == Reason.CRASH_BUDGET_EXHAUSTED


def test_disruptions_have_no_budget() -> None:
    status = look(run_of(status=status_of(disruptions=10_000)), job_of("Failed", disrupted=True)).status
    assert (status.disruptions, status.phase) == (10_001, Phase.PENDING)


# -- what is told while a launch lives --------------------------------------------------------------------------------


def test_the_checkpoint_and_progress_of_reports_are_shown() -> None:
    trainer = replace(trainer_of(step=25, total_steps=100), steps_per_second=5.0, epoch=1, total_epochs=4)
    progress = look(run_of(status=status_of()), job_of(), trainer=trainer).status.progress
    assert progress is not None
    assert (progress.step, progress.percent, progress.eta_seconds, progress.total_epochs) == (25, 25, 15, 4)


def test_a_trainer_beyond_its_total_is_done_not_in_debt() -> None:
    trainer = replace(trainer_of(step=130, total_steps=100), steps_per_second=5.0)
    progress = look(run_of(status=status_of()), job_of(), trainer=trainer).status.progress
    assert progress is not None
    assert (progress.percent, progress.eta_seconds) == (100, 0)


def test_metrics_are_those_of_the_newest_plan_and_of_the_final_evaluation() -> None:
    points = (
        point_of(90, kind="validation", val_loss=9.0),
        point_of(60, kind="validation", generation=2, val_loss=0.5, val_f1=0.1),
        point_of(60, kind="test", generation=2, test_loss=float("nan")),
        point_of(95, kind="train", loss=3.0),
    )
    status = look(run_of(status=status_of()), job_of(), trainer=trainer_of(), points=points).status
    assert status.metrics == {"test_loss": "NaN", "val_f1": "0.1", "val_loss": "0.5"}


def test_metrics_stay_while_a_series_is_not_at_hand() -> None:
    status = status_of(metrics={"val_loss": "0.5"})
    assert look(run_of(status=status), job_of(), trainer=trainer_of()).status.metrics == {"val_loss": "0.5"}
