"""What a watcher sees of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from trainmaster.api.trainingrun import TrainingRun
from trainmaster.core.series import Point
from trainmaster.core.snapshot import TrainerState


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One run at one moment."""

    run: TrainingRun
    trainer: TrainerState | None
    newest: Point | None
    """The newest validation point."""
    now: datetime
