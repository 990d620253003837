"""Training from Python, in this process: data, features, training, evaluation and export in one call.

    from trainmaster_trainer.orchestrator import OrchestratorConfig, TrainingOrchestratorV2

    config = OrchestratorConfig(
        model_preset="production_small", trainer_preset="production_small", feature_store_days=30
    )
    result = await TrainingOrchestratorV2(config).run_training()

It is the engine that a TrainingRun starts in a pod, with the same plan, checkpoints and results; a session that records
and draws a progress line takes the launcher's place. Who cancels the call gets a checkpoint, and with `run_name` the
next call goes on from it.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.api.base import WireFloat
from trainmaster.api.hyperparameters import Scalar
from trainmaster.api.plan import HangLimits, Plan, StoragePlan
from trainmaster_trainer.configs import (
    WORKLOAD,
    ModelConfigV2,
    OrchestratorConfig,
    TrainerConfigV2,
)
from trainmaster_trainer.epoch_metrics import EpochMetrics
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.progress_line import ProgressLine
from trainmaster_trainer.recording import RecordingSession

__all__ = [
    "EpochMetrics",
    "ModelConfigV2",
    "ModelTrainerV2",
    "OrchestratorConfig",
    "TrainerConfigV2",
    "TrainingOrchestratorV2",
    "TrainingResult",
]

LAUNCH: Final = 1
"""Trainings from Python have one launch; a checkpoint of it is continued under the same number."""
_ONE_AT_A_TIME: Final = threading.Lock()
_NEVER: Final = HangLimits(starting=0, training=0, validating=0, checkpointing=0, testing=0)
"""Nobody watches for hangs in process."""


class TrainingResult(BaseModel):
    """How a training ended; JSON by construction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: str = Field(description="`Completed`, or `StoppedEarly` where patience ended it.")
    message: str = Field(description="Epochs done, and why it ended before the last.")
    metrics: dict[str, WireFloat] = Field(description="Metrics on the test rows, and of the best epoch.")
    epochs: tuple[EpochMetrics, ...] = Field(description="Every epoch, oldest first.")
    hyperparameters: dict[str, Scalar] = Field(description="All of them, as trained with.")
    folder: str = Field(description="Where checkpoints and artifacts are.")
    checkpoint: str | None = Field(description="The newest checkpoint, relative to `folder`.")


class ModelTrainerV2:
    """Trains one model, and waits for the end; `TrainingOrchestratorV2` is the same for asyncio."""

    def __init__(
        self,
        model: ModelConfigV2 | None = None,
        trainer: TrainerConfigV2 | None = None,
        **others: Any,  # noqa: ANN401  # the fields of OrchestratorConfig, which judges them
    ) -> None:
        """These hyperparameters; `source`, `output` and the like are named as in `OrchestratorConfig`."""
        self.config = OrchestratorConfig(model=model or ModelConfigV2(), trainer=trainer or TrainerConfigV2(), **others)

    def train(self) -> TrainingResult:
        """Train to the end. Raises ConfigurationError and DataError with what does not fit."""
        return train_in_process(self.config, interruption=Interruption())


class TrainingOrchestratorV2:
    """Data, features, training, evaluation and export, in one awaited call."""

    def __init__(self, config: OrchestratorConfig) -> None:
        self.config = config

    async def run_training(self) -> TrainingResult:
        """Train to the end, in a thread beside the event loop.

        Cancelled (Ctrl-C under `asyncio.run` does that), it waits until a checkpoint is written. Raises
        ConfigurationError and DataError with what does not fit.
        """
        interruption = Interruption()
        training = asyncio.create_task(asyncio.to_thread(train_in_process, self.config, interruption=interruption))
        try:
            return await asyncio.shield(training)
        except asyncio.CancelledError:
            interruption.requested = True
            await asyncio.wait({training})
            raise asyncio.CancelledError from training.exception()


def plan_of(config: OrchestratorConfig) -> Plan:
    """The plan that a configuration asks for. Raises ConfigurationError where values do not fit each other."""
    name = config.run_name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    return Plan(
        run_uid=name,
        namespace="python",
        name=name,
        launch=LAUNCH,
        generation=1,
        base_generation=1,
        workload=WORKLOAD,
        hyperparameters=config.hyperparameters(),
        parameter_schedules=config.parameter_schedules,
        data_source=config.source,
        feature_store_days=config.feature_store_days,
        volumes=config.volumes,
        storage=StoragePlan(root=f"{config.output.rstrip('/')}/{name}"),
        cpus=config.threads,
        restart_lease=0,
        hang_limits=_NEVER,
    )


def train_in_process(config: OrchestratorConfig, *, interruption: Interruption) -> TrainingResult:
    """Train what a configuration says; setting `interruption.requested` ends it with a checkpoint.

    Raises ConfigurationError and DataError with what does not fit, InterruptionError when it was asked to end.
    """
    # Here, not above: configurations are made and checked without waiting seconds for torch.
    from trainmaster_trainer.distributed import Group  # noqa: PLC0415  # see above
    from trainmaster_trainer.market.workload import MarketClassifier  # noqa: PLC0415  # see above
    from trainmaster_trainer.training import train_plan  # noqa: PLC0415  # see above

    plan = plan_of(config)
    line = ProgressLine() if config.show_progress else None
    sessions: list[RecordingSession] = []

    def connect(applied: Mapping[str, int]) -> RecordingSession:
        sessions.append(RecordingSession(applied=applied, line=line))
        return sessions[-1]

    with _ONE_AT_A_TIME:  # all of torch, numpy and Python draw from one generator per process
        metrics = train_plan(
            plan, factory=MarketClassifier.from_plan, connect=connect, interruption=interruption, group=Group()
        )
    (session,) = sessions
    return TrainingResult(
        outcome=session.outcome or "Completed",
        message=session.message,
        metrics=metrics,
        epochs=session.epochs,
        hyperparameters=plan.hyperparameters,
        folder=plan.storage.root,
        checkpoint=session.checkpoint_path,
    )
