"""Status says whether a run could go back to its checkpoint; what it has no room for stays in the series."""

from __future__ import annotations

from tests.support.runs import job_of, look, message_of, run_of, status_of, trainer_of, verdict_of
from trainmaster.api.protocol import CheckpointManifest, ReportedCheckpoint
from trainmaster.api.trainingrun import TrainingRunStatus

WIRE = {"path": "1/a.pt", "step": 40, "epoch": 1, "sha256": "00", "sizeBytes": 3, "cleanSteps": 12, "finite": True}
LISTS = {"applied": ["d1"], "metrics": {"val_loss": "NaN"}, "signature": "ab", "ofTomorrow": [1]}


def _checkpoint(status: TrainingRunStatus) -> dict[str, object]:
    assert status.checkpoint is not None
    return status.checkpoint.to_wire()


def test_what_a_report_says_of_health_stands_in_status_and_its_lists_do_not() -> None:
    reported = ReportedCheckpoint.model_validate(WIRE | LISTS)

    status = look(run_of(status=status_of(launch=1)), job_of(), trainer=trainer_of(step=41, checkpoint=reported)).status

    assert _checkpoint(status) == WIRE


def test_so_it_is_with_a_launchers_last_word() -> None:
    manifest = CheckpointManifest.model_validate(WIRE | LISTS)
    said = message_of(verdict_of()).model_copy(update={"checkpoints": (manifest,)})

    status = look(run_of(status=status_of(launch=1)), job_of("Complete", exit_code=0, message=said)).status

    assert _checkpoint(status) == WIRE


def test_an_older_trainer_says_nothing_of_health_and_nothing_is_made_up() -> None:
    least = {name: WIRE[name] for name in ("path", "step", "epoch", "sha256", "sizeBytes")}
    reported = ReportedCheckpoint.model_validate(least)

    status = look(run_of(status=status_of(launch=1)), job_of(), trainer=trainer_of(step=41, checkpoint=reported)).status

    assert _checkpoint(status) == least
