"""The largest learning rate that the API takes: guards act and say so, and training ends well, with a harsh verdict."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.bars import write_bars
from tests.support.market_trial import Trial
from tests.support.training import RecordingSession, start
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster_trainer.engine import Engine

VALUES: Final[dict[str, Any]] = {
    "learning_rate": 10, "lr_scheduler": "constant", "epochs": 3, "batch_size": 32, "hidden_size": 8,
    "attention_heads": 2, "window": 6, "evaluation": "brief", "device": "cpu",
}  # fmt: skip
BARS: Final = 600


def _trained(folder: Path, **changes: Any) -> tuple[Engine, RecordingSession, dict[str, float]]:  # noqa: ANN401  # any value
    bars = write_bars(folder / "bars.csv", BARS)
    workload = Trial.from_source(
        MarketClassifierHyperparameters.model_validate({**VALUES, **changes}),
        source=f"pvc://data/{bars.name}",
        volumes={"data": str(folder)},
    )
    workload.judged = True
    engine, session = start(folder / "checkpoints", workload=workload)
    return engine, session, engine.run()


def _assert_it_ended_well(
    engine: Engine, session: RecordingSession, metrics: dict[str, float], *, log: pytest.LogCaptureFixture
) -> None:
    assert session.ended is not None
    assert session.ended["outcome"] == "Completed"
    best = engine.state.best
    judged = engine.state.model.state_dict() if best is None else best.weights
    for weights in (engine.state.model.state_dict(), judged):
        assert all(bool(weight.isfinite().all()) for weight in weights.values())
    assert math.isfinite(metrics["test_log_loss"])
    assert metrics["shows_skill"] == 0.0
    assert not [record for record in log.records if record.exc_info or record.levelno >= logging.ERROR]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_step_is_clipped_and_the_weights_stay_finite(
    tmp_path: Path, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, session, metrics = _trained(tmp_path, precision=precision)

    _assert_it_ended_well(engine, session, metrics, log=caplog)
    clips = [point["metrics"]["gradient_clipper.total_clips"] for point in session.of("train")]
    assert clips == sorted(clips)
    assert clips[-1] > engine.state.step / 2
    assert session.of("train")[-1]["metrics"]["smart_tuner.system_health"] < 1


def test_with_the_largest_weight_decay_too_rescues_and_lost_steps_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # AdamW multiplies each weight by 1 - 10 x 10: a hundred times larger with each step, until losses overflow.
    engine, session, metrics = _trained(tmp_path, weight_decay=10)

    _assert_it_ended_well(engine, session, metrics, log=caplog)
    told = session.of("train")[-1]["metrics"]
    assert told["lr_adapter.total_changes"] >= 1
    assert told["lr_adapter.multiplier"] < 1
    assert sum(point["metrics"]["nonfinite_steps"] for point in session.of("validation")) > 0
    assert told["smart_tuner.emergency_mode"] == 1
    assert "LearningRateChanged" in caplog.text
    assert engine.state.clean_steps < engine.state.step
