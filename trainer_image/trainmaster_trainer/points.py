"""What the engine tells the launcher: where training is, and what it measured."""

from __future__ import annotations

import resource
import time
from typing import Final

from trainmaster_trainer.guards import GuardReport
from trainmaster_trainer.reporting import Session
from trainmaster_trainer.state import TrainingState, ValidationRecord
from trainmaster_trainer.workload import Settings

BYTES_PER_RSS_UNIT: Final = 1024
"""Linux reports ru_maxrss in KiB."""


class Points:
    """The points of one training; what may differ between two equal trainings goes into train points alone."""

    def __init__(self, session: Session, *, settings: Settings, steps_per_epoch: int) -> None:
        self._session = session
        self._settings = settings
        self._steps_per_epoch = steps_per_epoch
        self._epoch_began = self._point_began = time.perf_counter()
        self._steps_since_point = 0

    def progress(self, phase: str, state: TrainingState) -> None:
        """The sign of life that hang detection watches."""
        self._session.progress(
            phase,
            step=state.step,
            epoch=state.epoch,
            total_steps=self._settings.epochs * self._steps_per_epoch,
            total_epochs=self._settings.epochs,
        )

    def epoch_begins(self) -> None:
        """Start the clocks."""
        self._epoch_began = self._point_began = time.perf_counter()
        self._steps_since_point = 0

    def step_done(self) -> None:
        """Count a step for the samples per second."""
        self._steps_since_point += 1

    def train(self, state: TrainingState, *, metrics: dict[str, float], guards: GuardReport, failures: int) -> None:
        """A train point."""
        now = time.perf_counter()
        samples = self._steps_since_point * self._settings.batch_size
        timed = {
            "samples_per_second": samples / max(now - self._point_began, 1e-9),
            "max_rss_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_RSS_UNIT),
            "checkpoint_failures": float(failures),
            "slices": float(state.slices.count),
        }
        self._session.point("train", step=state.step, epoch=state.epoch, metrics={**metrics, **guards.metrics, **timed})
        self._point_began, self._steps_since_point = now, 0

    @property
    def epoch_seconds(self) -> float:
        """Since the epoch began in this process."""
        return time.perf_counter() - self._epoch_began

    def validation(self, record: ValidationRecord) -> None:
        """A validation point, as it was recorded."""
        self._session.point(
            "validation",
            step=record.step,
            epoch=record.epoch,
            metrics=record.metrics,
            generation=record.generation,
        )
