"""What is summed over an epoch; the step itself is told in guards/test_train_step.py."""

from __future__ import annotations

import math

import torch

from trainmaster_trainer.step import StepResult, StepStatistics


def _result(loss: float, norm: float) -> StepResult:
    ok = math.isfinite(loss) and math.isfinite(norm)
    return StepResult(loss=torch.tensor(loss), grad_norm=torch.tensor(norm), ok=torch.tensor(ok))


def test_statistics_count_nonfinite_steps_and_keep_them_out_of_the_means() -> None:
    statistics = StepStatistics()
    for loss, norm in [(math.nan, 1.0), (1.0, 2.0), (2.0, math.inf), (0.0, 0.0), (5.0, 4.0)]:
        statistics.add(_result(loss, norm))

    assert statistics.metrics() == {
        "train_loss": 2.0,
        "grad_norm": 2.0,
        "grad_norm_max": 4.0,
        "nonfinite_steps": 2.0,
    }


def test_an_epoch_without_a_single_finite_step_has_no_mean() -> None:
    statistics = StepStatistics()
    statistics.add(_result(math.nan, 1.0))

    metrics = statistics.metrics()

    assert math.isnan(metrics["train_loss"])
    assert math.isnan(metrics["grad_norm_max"])
    assert metrics["nonfinite_steps"] == 1.0
