"""Whether a launch whose pod runs is heard: a launcher reports before it starts anything, so silence has a cause.

Silence ends nothing and costs nothing, for training goes on without us; it is said, and a person may open the way.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from trainmaster.api.conditions import READY, Reason
from trainmaster.api.trainingrun import TrainingRunStatus
from trainmaster.core.run.words import cut
from trainmaster.core.snapshot import TrainerState

SILENT_SECONDS: Final = 45
"""Nine of the launcher's intervals, and more than its longest pause between two tries (30 s): an outage of the operator
or of its API server that is over makes no run silent, and a thousand runs are not written twice after it."""
TRAINING: Final = "training"
UNHEARD: Final = "the pod runs; no report yet"
_HINT: Final = "is TRAINMASTER_REPORT_URL, where the launcher reports to, reachable from the pod? Its log says more"


def heard_words(trainer: TrainerState | None, status: TrainingRunStatus, now: datetime) -> str:
    """How the newest launch is heard whose pod runs; the same words as long as nothing changes."""
    heard = _of_this_launch(trainer, status)
    if heard is None:
        said = _said_before(status)
        if said not in {"", UNHEARD}:
            # This process has begun after it was heard: nobody knows better yet.
            return said
    due = silent_at(trainer, status)
    if due is None or now < due:
        return UNHEARD if heard is None else _trained_words(heard)
    since = (due - timedelta(seconds=SILENT_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if heard is not None:
        return f"no report since the last one, of {since}: {_HINT}"
    return f"no report since the pod began at {since}: {_HINT}"


def silent_at(trainer: TrainerState | None, status: TrainingRunStatus) -> datetime | None:
    """When the newest launch counts as silent unless it is heard before; None: nothing is known to count from."""
    heard = _of_this_launch(trainer, status)
    since = status.running_time if heard is None else heard.heard_at
    return None if since is None else since + timedelta(seconds=SILENT_SECONDS)


def _trained_words(heard: TrainerState) -> str:
    """What is said of a launch that is heard: trouble with storage stops no training, but what a crash would lose."""
    words = " ".join(heard.storage.split())
    return cut(f"{TRAINING}, but storage fails: {words}") if words else TRAINING


def _of_this_launch(trainer: TrainerState | None, status: TrainingRunStatus) -> TrainerState | None:
    return trainer if trainer is not None and trainer.launch == status.launch else None


def _said_before(status: TrainingRunStatus) -> str:
    """What was said of the launch while it ran, if it did."""
    ready = status.condition(READY)
    return ready.message if ready is not None and ready.reason == Reason.RUNNING else ""
