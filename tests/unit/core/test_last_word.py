"""What a launcher writes down at its end counts where no report came through."""

from __future__ import annotations

from tests.support.runs import (
    Field,
    job_of,
    look,
    message_of,
    point_of,
    run_of,
    status_of,
    trainer_of,
    verdict_of,
)
from trainmaster.api.protocol import CheckpointManifest, TerminationMessage
from trainmaster.api.trainingrun import TrainingRunStatus

FINAL = verdict_of().model_copy(update={"metrics": {"test_accuracy": 0.75, "val_loss": 0.25}})


def saved(step: int) -> CheckpointManifest:
    return CheckpointManifest(path=f"checkpoint-{step}", step=step, epoch=0, sha256=f"{step:064x}", size_bytes=9)


def message(*, step: int = 90, checkpoints: tuple[int, ...] = ()) -> TerminationMessage:
    manifests = tuple(saved(each) for each in checkpoints)
    return message_of(FINAL).model_copy(update={"step": step, "checkpoints": manifests})


def ended(said: TerminationMessage, *, status: TrainingRunStatus | None = None, **heard: Field) -> TrainingRunStatus:
    run = run_of(status=status or status_of(launch=1))
    return look(run, job_of("Complete", exit_code=0, message=said), **heard).status


def test_a_run_that_ended_unheard_has_its_metrics_its_step_and_its_newest_checkpoint() -> None:
    status = ended(message(checkpoints=(40, 80)))

    assert status.metrics == {"test_accuracy": "0.75", "val_loss": "0.25"}
    assert status.progress is not None
    assert (status.progress.step, status.progress.percent) == (90, 100)
    assert status.checkpoint is not None
    assert (status.checkpoint.path, status.checkpoint.step) == ("checkpoint-80", 80)


def test_it_adds_to_what_was_reported_and_has_the_last_word_on_metrics() -> None:
    points = (point_of(50, kind="validation", val_loss=0.5, val_f1=0.6),)
    status = ended(message(), trainer=trainer_of(step=100, checkpoint=saved(100)), points=points)

    assert status.metrics == {"test_accuracy": "0.75", "val_f1": "0.6", "val_loss": "0.25"}
    assert status.progress is not None
    assert status.progress.step == 100, "a report that came later knows more of the steps"
    assert status.checkpoint is not None
    assert status.checkpoint.step == 100


def test_the_newest_checkpoint_is_the_last_one_for_training_may_have_gone_back() -> None:
    status = ended(message(checkpoints=(40, 80, 60)), trainer=trainer_of(step=70, checkpoint=saved(80)))
    assert status.checkpoint is not None
    assert status.checkpoint.step == 60


def test_another_launchs_message_says_nothing() -> None:
    run = run_of(status=status_of(launch=2))
    status = look(run, job_of("Failed", launch=1, message=message())).status

    assert (status.metrics, status.checkpoint) == ({}, None)
