"""Tracking by MLflow, which is imported at the first call: it takes 4 s and starts threads."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from trainmaster.api.trainingrun import TrackingStatus
from trainmaster.core.series import Point
from trainmaster.ports.series import Kind
from trainmaster.ports.tracking import TrackedRun, Tracker, TrackingRefusedError

HTTP_TIMEOUT_SECONDS: Final = 10
"""Bounds each request, and with it how long a dead server can hold up the end of our process; MLflow's defaults, 120 s
and 7 retries, would be a quarter of an hour. Whoever calls retries."""


class MlflowTracker:
    """A `Tracker` on one tracking URI: `sqlite:///FILE` (created when missing) or `http(s)://...`.

    Experiments are named `trainmaster/<namespace>`, runs like the TrainingRun, with `-<rerun>` from the first rerun on.
    A TrackingStatus has a URL only where there is a server; `mlflow ui --backend-store-uri <uri>` opens a file.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._store: Tracker | None = None

    def open(self, run: TrackedRun) -> TrackingStatus:
        """Find the run by its tags, or create it; log the params that it lacks."""
        return self._imported().open(run)

    def logged_steps(self, ref: TrackingStatus, kind: Kind) -> frozenset[int]:
        """Steps of which a point of this kind is in the history."""
        return self._imported().logged_steps(ref, kind)

    def log(self, ref: TrackingStatus, points: Sequence[Point]) -> None:
        """Add points to the history."""
        self._imported().log(ref, points)

    def missing(self, ref: TrackingStatus, files: Sequence[Path]) -> tuple[Path, ...]:
        """Files that are no artifacts of the run yet."""
        return self._imported().missing(ref, files)

    def keep(self, ref: TrackingStatus, file: Path) -> None:
        """Log a file as an artifact."""
        self._imported().keep(ref, file)

    def close(self, ref: TrackingStatus, *, outcome: str, end_time: datetime) -> None:
        """Set the run's status."""
        self._imported().close(ref, outcome=outcome, end_time=end_time)

    def _imported(self) -> Tracker:
        if self._store is None:
            _set_environment(self.uri)
            try:
                from trainmaster.adapters.mlflow.store import MlflowStoreTracker  # noqa: PLC0415  # imports MLflow
            except ImportError as error:
                message = f"MLflow cannot be imported ({error}); `pip install 'trainmaster[local]'` installs it"
                raise TrackingRefusedError(message) from error
            _quiet_loggers()
            self._store = MlflowStoreTracker(self.uri)
        return self._store


def _set_environment(uri: str) -> None:
    """What MLflow reads from the environment when it is imported, and (timeouts) with each request."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if uri.startswith("http"):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(HTTP_TIMEOUT_SECONDS))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def _quiet_loggers() -> None:
    """Migrations are no news, and database errors, which MLflow logs with a traceback, we tell in our own words."""
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
