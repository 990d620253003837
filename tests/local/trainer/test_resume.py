"""Wherever training ends and starts again, weights, moments, random numbers and history end the same, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.training import (
    EPOCHS,
    STEPS,
    STEPS_PER_EPOCH,
    EndAt,
    RecordingSession,
    ToyDirective,
    ToyWorkload,
    newest_digest,
    start,
    store,
)
from trainmaster_trainer.engine import InterruptionError
from trainmaster_trainer.errors import ConfigurationError

LOOKS = STEPS + EPOCHS + 2
"""Looks at the interruption flag in an undisturbed training: steps, validations, the test's begin and its one batch."""
ADJUST = ToyDirective(id="d1", at_step=7, set={"learning_rate": 0.2})
STOP = ToyDirective(id="d2", kind="Stop", generation=3, at_step=12, reason="enough")


def _crash(root: Path, *, at_step: int, directives: tuple[ToyDirective, ...], every_steps: int | None) -> None:
    """Train, and die as SIGKILL would, before the given step: nothing is written on the way out."""

    class Killed(BaseException):  # as SIGKILL: nothing of the product runs after it
        pass

    class Dying(ToyWorkload):
        calls = 0

        def losses(self, model: Any, rows: Any, knobs: Any) -> Any:  # noqa: ANN401  # as the base
            if engine.state.step == at_step:
                raise Killed
            return super().losses(model, rows, knobs)

    engine, _ = start(root, *directives, every_steps=every_steps, workload=Dying())
    with pytest.raises(Killed):
        engine.run()


def _straight(
    root: Path, *directives: ToyDirective, every_steps: int | None = None
) -> tuple[str, list[dict[str, Any]], RecordingSession]:
    engine, session = start(root, *directives, every_steps=every_steps)
    engine.run()
    return newest_digest(root), session.of("validation"), session


def test_an_undisturbed_training_reports_each_epoch_once_and_ends_well(tmp_path: Path) -> None:
    _, points, session = _straight(tmp_path)

    assert [(p["step"], p["epoch"], p["generation"]) for p in points] == [(5, 1, 1), (10, 2, 1), (15, 3, 1)]
    assert set(points[0]["metrics"]) == {
        "train_loss", "val_loss", "learning_rate", "grad_norm", "grad_norm_max", "nonfinite_steps",
        "param_scheduler.total_changes",
    }  # fmt: skip
    assert session.ended is not None
    assert session.ended["outcome"] == "Completed"
    assert session.ended["metrics"] == session.of("test")[0]["metrics"]


@pytest.mark.parametrize(
    ("directives", "killed_before"),
    [
        *(pytest.param((), step, id=f"plain-{step}") for step in range(STEPS)),
        *(pytest.param((ADJUST,), step, id=f"adjust-{step}") for step in range(STEPS)),
        *(pytest.param((ADJUST, STOP), step, id=f"stop-{step}") for step in range(STOP.at_step)),
    ],
)
@pytest.mark.parametrize("every_steps", [None, 1, 3])
def test_killed_before_any_step_it_ends_the_same(
    tmp_path: Path, killed_before: int, every_steps: int | None, directives: tuple[ToyDirective, ...]
) -> None:
    digest, points, straight = _straight(tmp_path / "straight", *directives, every_steps=every_steps)

    _crash(tmp_path / "killed", at_step=killed_before, directives=directives, every_steps=every_steps)
    engine, session = start(tmp_path / "killed", *directives, launch=2, every_steps=every_steps)
    engine.run()

    assert newest_digest(tmp_path / "killed") == digest
    assert session.of("validation") == points, "those of before the kill are sent again, with their generation"
    assert session.ended == straight.ended


@pytest.mark.parametrize("directives", [(), (ADJUST, STOP)], ids=["plain", "adjust and stop"])
def test_asked_to_end_at_every_look_it_ends_the_same(tmp_path: Path, directives: tuple[ToyDirective, ...]) -> None:
    digest, points, straight = _straight(tmp_path / "straight", *directives)

    root = tmp_path / "interrupted"
    launches = 0
    while launches < 2 * LOOKS:
        launches += 1
        # One look passes, the next asks to end: one step, validation or test batch per launch.
        engine, session = start(root, *directives, launch=launches, interruption=EndAt(1))
        try:
            engine.run()
        except InterruptionError:
            continue
        break
    if session.ended is None:  # the test takes two looks
        engine, session = start(root, *directives, launch=launches + 1)
        engine.run()

    assert newest_digest(root) == digest
    assert session.of("validation") == points
    assert session.ended == straight.ended


@pytest.mark.parametrize("look", range(LOOKS))
def test_asked_to_end_once_it_writes_a_checkpoint_of_that_very_step(tmp_path: Path, look: int) -> None:
    engine, _ = start(tmp_path, interruption=EndAt(look))

    with pytest.raises(InterruptionError):
        engine.run()

    found = store(tmp_path).newest()
    assert found is not None
    assert (found[0].step, found[0].epoch) == (engine.state.step, engine.state.epoch)


def test_checkpoints_more_often_change_nothing(tmp_path: Path) -> None:
    assert _straight(tmp_path / "often", every_steps=1)[:2] == _straight(tmp_path / "seldom")[:2]


def test_points_after_a_directive_carry_its_generation_and_its_learning_rate(tmp_path: Path) -> None:
    engine, session = start(tmp_path, ADJUST, workload=ToyWorkload(cosine=False))

    engine.run()

    assert [p["generation"] for p in session.of("validation")] == [1, 2, 2]
    assert [p["metrics"]["learning_rate"] for p in session.of("validation")] == [0.05, 0.2, 0.2]
    assert session.applied_directives == {"d1": 7}


def test_a_directive_at_an_epochs_first_step_leaves_the_point_before_it_alone(tmp_path: Path) -> None:
    directive = ToyDirective(id="d1", at_step=STEPS_PER_EPOCH, set={"learning_rate": 0.2})

    engine, session = start(tmp_path, directive)
    engine.run()

    assert [p["generation"] for p in session.of("validation")] == [1, 2, 2]


def test_a_stop_directive_ends_training_well_and_tests_the_best_weights(tmp_path: Path) -> None:
    engine, session = start(tmp_path, STOP)

    metrics = engine.run()

    assert engine.state.step == STOP.at_step
    assert session.ended == {
        "outcome": "StoppedEarly",
        "reason": "StoppedEarly",
        "message": "2 of 3 epochs: enough",
        "metrics": metrics,
    }
    best = min(session.of("validation"), key=lambda p: p["metrics"]["val_loss"])
    assert metrics["best_epoch"] == best["epoch"]
    assert metrics["test_loss"] == best["metrics"]["val_loss"], "toy rows are the same in both"


@pytest.mark.parametrize(
    "directive",
    [
        ToyDirective(id="d9", set={"window": 5}),
        ToyDirective(id="d9", kind="Rollback"),
    ],
)
def test_a_directive_that_cannot_be_carried_out_is_told_once_and_changes_nothing(
    tmp_path: Path, directive: ToyDirective, caplog: pytest.LogCaptureFixture
) -> None:
    digest, points, _ = _straight(tmp_path / "straight")

    disturbed, told, session = _straight(tmp_path / "told", directive)

    assert (disturbed, told) == (digest, points)
    assert session.applied_directives == {}
    assert caplog.text.count("directive d9 is not carried out") == 1


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    _straight(tmp_path)

    with pytest.raises(ConfigurationError, match=r"changed since checkpoint 1/step-000000015-epoch-0003\.pt"):
        start(tmp_path, workload=ToyWorkload(fingerprint="other data"))


def test_a_finished_training_started_again_only_tests_again(tmp_path: Path) -> None:
    _, points, straight = _straight(tmp_path)

    engine, session = start(tmp_path, launch=2)
    engine.run()

    assert session.of("validation") == points
    assert session.of("train") == []
    assert session.ended == straight.ended
    assert not (tmp_path / "2").exists()


def test_the_checkpoint_that_training_continues_from_is_announced_again(tmp_path: Path) -> None:
    _, _, first = _straight(tmp_path)

    _, session = start(tmp_path, launch=2)

    assert session.checkpoints == [first.checkpoints[-1]]


def test_each_step_is_a_sign_of_life_in_its_phase(tmp_path: Path) -> None:
    _, _, session = _straight(tmp_path)

    assert [step for phase, step in session.phases if phase == "training"] == list(range(STEPS))
    assert [step for phase, step in session.phases if phase == "validating"] == [5, 10, 15]
    assert {phase for phase, _ in session.phases} == {"training", "validating", "checkpointing", "testing"}
