"""Training from Python: the same engine, checkpoints that a cancelled call leaves, and a result that is JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster_trainer.checkpoint import final_state_digest
from trainmaster_trainer.epoch_metrics import EpochMetrics
from trainmaster_trainer.errors import ConfigurationError, DataError
from trainmaster_trainer.orchestrator import (
    ModelConfigV2,
    ModelTrainerV2,
    OrchestratorConfig,
    TrainerConfigV2,
    TrainingOrchestratorV2,
    TrainingResult,
)
from trainmaster_trainer.recording import RecordingSession

SOURCE = "synthetic://hmm?rows=1200"
SMALL = TrainerConfigV2(
    window=6,
    epochs=3,
    batch_size=64,
    learning_rate=0.003,
    lr_scheduler="constant",
    leak_audit=False,
    export_onnx=False,
)
SCHEDULES = (
    ParameterSchedule(parameter="learning_rate", strategy="linear", to="0.0003"),
    ParameterSchedule(parameter="dropout", strategy="plateau", multiply="0.5", patience=0),
)


def config(output: Path, **changes: Any) -> OrchestratorConfig:  # noqa: ANN401  # any of its fields
    base: dict[str, Any] = {
        "model": ModelConfigV2(hidden_size=8, attention_heads=2),
        "trainer": SMALL,
        "source": SOURCE,
        "parameter_schedules": SCHEDULES,
        "output": str(output),
        "threads": 1,
        "show_progress": False,
    }
    return OrchestratorConfig(**(base | changes))


def train(one: OrchestratorConfig) -> TrainingResult:
    return asyncio.run(TrainingOrchestratorV2(one).run_training())


def digest(result: TrainingResult) -> str:
    assert result.checkpoint is not None
    return final_state_digest(Path(result.folder) / result.checkpoint)


def test_one_call_trains_tests_and_keeps(tmp_path: Path) -> None:
    result = train(config(tmp_path))

    assert (result.outcome, result.message) == ("Completed", "3 of 3 epochs")
    assert 0.0 <= result.metrics["test_accuracy"] <= 1.0
    assert [epoch.epoch for epoch in result.epochs] == [1, 2, 3]
    assert all(epoch.seconds > 0 and epoch.memory_bytes > 0 for epoch in result.epochs)
    assert result.hyperparameters["learning_rate"] == 0.003
    rates = [epoch.lr for epoch in result.epochs]
    assert 0.003 > rates[0] > rates[1] > rates[2] > 0.0003
    assert digest(result)
    assert TrainingResult.model_validate_json(result.model_dump_json()).epochs == result.epochs


def test_a_call_that_is_cancelled_leaves_a_checkpoint_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config(tmp_path / "whole", run_name="a"))
    cut = config(tmp_path / "cut", run_name="a")

    async def cancelled() -> None:
        loop, reached = asyncio.get_running_loop(), asyncio.Event()
        taken = RecordingSession._take

        def tell(session: RecordingSession, epoch: int, train_point: Mapping[str, float]) -> EpochMetrics:
            done = taken(session, epoch, train_point)
            loop.call_soon_threadsafe(reached.set)
            return done

        monkeypatch.setattr(RecordingSession, "_take", tell)
        training = asyncio.create_task(TrainingOrchestratorV2(cut).run_training())
        await reached.wait()
        training.cancel()
        with pytest.raises(asyncio.CancelledError):
            await training
        monkeypatch.setattr(RecordingSession, "_take", taken)

    asyncio.run(cancelled())
    kept = list((tmp_path / "cut" / "a").glob("*/step-*.pt"))
    result = train(cut)

    assert kept
    assert digest(result) == digest(whole)
    assert result.metrics == whole.metrics
    assert [epoch.val_loss for epoch in result.epochs] == [epoch.val_loss for epoch in whole.epochs]


def test_without_a_name_every_call_trains_anew(tmp_path: Path) -> None:
    first, second = train(config(tmp_path)), train(config(tmp_path))

    assert first.folder != second.folder
    assert digest(first) == digest(second)


def test_the_trainer_of_the_source_trains_without_asyncio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = ModelTrainerV2(
        ModelConfigV2(hidden_size=8, attention_heads=2), SMALL.model_copy(update={"epochs": 1}), source=SOURCE
    )

    result = trainer.train()

    assert len(result.epochs) == 1
    assert (tmp_path / result.folder).is_dir()


def test_what_does_not_fit_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must divide hidden_size"):
        train(config(tmp_path, model=ModelConfigV2(hidden_size=12), model_preset="source-v2"))
    with pytest.raises(DataError):
        train(config(tmp_path, source="package://no-such-distribution/bars.csv"))
    assert not list(tmp_path.rglob("*.pt"))
