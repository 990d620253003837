"""The guards in a whole training: bad steps, bad validations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.training import STEPS_PER_EPOCH, ToyDirective, ToyWorkload, start, store
from trainmaster_trainer.workload import Knobs, Tick


class BadSteps(ToyWorkload):
    """Gives a loss that is not finite at some steps."""

    def __init__(self, bad: dict[int, float]) -> None:
        super().__init__()
        self._bad = bad
        self._calls = -1

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        self._calls += 1
        return super().losses(model, rows, knobs) * self._bad.get(self._calls, 1.0)


def test_bad_steps_are_skipped_and_counted_in_their_epoch(tmp_path: Path) -> None:
    engine, session = start(tmp_path, workload=BadSteps({1: math.nan, 2: math.inf, 7: -math.inf}))

    engine.run()

    points = session.of("validation")
    assert [p["metrics"]["nonfinite_steps"] for p in points] == [2, 1, 0]
    assert [p["step"] for p in points] == [5, 10, 15], "a skipped step is a step done: its data is not seen twice"
    assert all(math.isfinite(v) for p in points for v in p["metrics"].values())
    assert all(bool(torch.isfinite(p).all()) for p in engine.state.model.parameters())


def test_an_epoch_of_bad_steps_leaves_the_weights_alone_and_reports_nan(tmp_path: Path) -> None:
    engine, session = start(tmp_path, workload=BadSteps(dict.fromkeys(range(100), math.nan)))
    before = [p.detach().clone() for p in engine.state.model.parameters()]

    engine.run()

    assert all(torch.equal(a, b) for a, b in zip(before, engine.state.model.parameters(), strict=True))
    assert [p["metrics"]["nonfinite_steps"] for p in session.of("validation")] == [STEPS_PER_EPOCH] * 3
    assert all(math.isnan(p["metrics"]["train_loss"]) for p in session.of("validation"))


class BadValidations(ToyWorkload):
    """Reports the given validation losses."""

    def __init__(self, *losses: float, **settings: Any) -> None:  # noqa: ANN401  # any of the toy's
        super().__init__(**settings)
        self._losses = iter(losses)

    def validate(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        super().validate(model, tick=tick)
        return {"val_loss": next(self._losses)}


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ((3.0, 2.0, 1.0), 3),
        ((1.0, 2.0, 3.0), 1),
        ((2.0, 1.0, 1.0), 2),
        ((math.nan, 2.0, math.nan), 2),
        ((-math.inf, 5.0, math.inf), 2),
    ],
)
def test_the_lowest_finite_validation_loss_is_the_best_of_equals_the_first(
    tmp_path: Path, losses: tuple[float, ...], best: int
) -> None:
    engine, session = start(tmp_path, workload=BadValidations(*losses))

    metrics = engine.run()

    assert metrics["best_epoch"] == best
    assert [p["metrics"]["val_loss"] for p in session.of("validation")] == pytest.approx(losses, nan_ok=True)


def test_without_any_finite_validation_the_last_weights_are_tested(tmp_path: Path) -> None:
    engine, session = start(tmp_path, workload=BadValidations(math.nan, math.nan, math.nan))

    metrics = engine.run()

    assert "best_epoch" not in metrics
    assert math.isfinite(metrics["test_loss"])
    assert session.ended is not None


def test_a_train_point_tells_what_may_differ_between_equal_trainings(tmp_path: Path) -> None:
    engine, session = start(tmp_path)

    engine.run()

    timed = {"epoch_seconds", "samples_per_second", "max_rss_bytes", "checkpoint_failures"}
    assert [p["step"] for p in session.of("train")] == [5, 10, 15]
    assert all(timed <= set(p["metrics"]) for p in session.of("train"))
    assert all(not timed & set(p["metrics"]) for p in session.of("validation"))


def test_every_twentieth_step_reports_its_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster_trainer.engine.TRAIN_POINT_EVERY_STEPS", 4)
    engine, session = start(tmp_path)

    engine.run()

    points: dict[int, dict[str, Any]] = {p["step"]: p["metrics"] for p in session.of("train")}
    assert sorted(points) == [4, 5, 8, 10, 12, 15]
    assert {"loss", "grad_norm", "learning_rate", "samples_per_second"} <= set(points[4])


@pytest.mark.parametrize("bad", [11, 13, 14])
def test_a_checkpoint_with_a_lost_step_right_before_it_is_not_clean(tmp_path: Path, bad: int) -> None:
    engine, _ = start(tmp_path, workload=BadSteps({bad: math.nan}), every_steps=1)

    engine.run()

    found = store(tmp_path, keep_last=100).newest()
    assert found is not None
    assert found[0].clean_steps is not None
    assert found[0].clean_steps <= STEPS_PER_EPOCH * 3 - bad


def test_a_stop_at_the_end_of_an_epoch_is_in_the_last_checkpoint(tmp_path: Path) -> None:
    stop = ToyDirective(id="d1", kind="Stop", at_step=STEPS_PER_EPOCH, reason="enough")
    engine, session = start(tmp_path, stop)

    engine.run()

    found = store(tmp_path).newest()
    assert found is not None
    assert (found[1]["applied"], found[1]["stopped"]) == ({"d1": STEPS_PER_EPOCH}, "enough")
    assert session.ended is not None
    assert session.ended["outcome"] == "StoppedEarly"


def test_patience_that_runs_out_with_the_last_epoch_has_stopped_nothing(tmp_path: Path) -> None:
    workload = BadValidations(1.0, 2.0, 3.0, early_stopping_patience=2, cosine=False)
    engine, session = start(tmp_path, workload=workload)

    engine.run()

    assert session.ended is not None
    assert session.ended["outcome"] == "Completed"
