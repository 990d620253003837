"""Tracking by an imported MLflow: `tracker` tells why this is a module of its own.

What MLflow 3.17 promises, and this adapter builds on (`SqlAlchemyStore._log_metrics_once`):

- All metrics of one `log_batch` call are written in one transaction, so a point is in the history whole or not at all,
  and reading back one marker metric per kind is enough. Params and tags of the call are transactions of their own.
- The primary key of a metric is (run, key, timestamp, step, value, is_nan), and rows that exist are skipped: sending a
  point again, as after an answer that was lost, changes nothing. Timestamps therefore come from the point.
- `create_run` has no such key: an answer that was lost can leave a second run. `open` always picks the same one of
  several (the one with metrics, then the oldest) and deletes the others, softly.
- Artifacts have no hash to ask for. A run that has ended changes its files no more, so name and size tell whether one
  is there; one that was cut short has another size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from trainmaster.adapters.mlflow.metrics import marker_key, metrics_of, milliseconds
from trainmaster.adapters.mlflow.sqlite import prepare_database
from trainmaster.adapters.mlflow.uri import public_uri, sqlite_path
from trainmaster.api.conditions import Outcome
from trainmaster.api.trainingrun import TrackingStatus
from trainmaster.core.series import Point
from trainmaster.ports.series import Kind
from trainmaster.ports.tracking import TrackedRun, TrackingRefusedError, TrackingUnreachableError

TAG_UID: Final = "trainmaster.run_uid"
TAG_RERUN: Final = "trainmaster.rerun"
BATCH_METRICS: Final = 1000
"""MLflow refuses more in one `log_batch`."""
BATCH_PARAMS: Final = 100
PARAM_LENGTH: Final = 6000
"""MLflow refuses longer values of params."""
REFUSALS: Final = frozenset(
    {
        "BAD_REQUEST",
        "CUSTOMER_UNAUTHORIZED",
        "ENDPOINT_NOT_FOUND",
        "FEATURE_DISABLED",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "NOT_IMPLEMENTED",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
        "UNAUTHENTICATED",
    }
)
"""Error codes that stay the same however often one asks; all others are taken for trouble that passes."""


class MlflowStoreTracker:
    """A `Tracker` that has imported MLflow."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._connection: MlflowClient | None = None

    def open(self, run: TrackedRun) -> TrackingStatus:
        """Find the run by its tags, or create it; log the params that it lacks."""
        database = sqlite_path(self.uri)
        with self._errors():
            if database is not None:
                prepare_database(database)
            experiment = self._experiment(f"trainmaster/{run.namespace}")
            tracked = self._find(run, experiment=experiment) or self._create(run, experiment=experiment)
            self._log_params(tracked, run)
            run_id = tracked.info.run_id
        return TrackingStatus(experiment_id=experiment, run_id=run_id, url=self._url(experiment, run_id))

    def logged_steps(self, ref: TrackingStatus, kind: Kind) -> frozenset[int]:
        """Steps of which the marker metric is in the history."""
        with self._errors():
            history = self._client.get_metric_history(ref.run_id, marker_key(kind))
            return frozenset(int(metric.step) for metric in history)

    def log(self, ref: TrackingStatus, points: Sequence[Point]) -> None:
        """Log points in batches of whole points, oldest first."""
        with self._errors():
            for batch in _batches(points):
                self._client.log_batch(ref.run_id, metrics=batch)

    def missing(self, ref: TrackingStatus, files: Sequence[Path]) -> tuple[Path, ...]:
        """Files that are no artifacts at the top of the run, or of another size."""
        with self._errors():
            kept = {found.path: found.file_size for found in self._client.list_artifacts(ref.run_id)}
        return tuple(file for file in files if kept.get(file.name) != _size(file))

    def keep(self, ref: TrackingStatus, file: Path) -> None:
        """Log a file as an artifact at the top of the run."""
        try:
            file.open("rb").close()
        except OSError as error:
            # No trouble of the server's, for which all runs would wait.
            message = f"{file} cannot be read: {error.strerror}"
            raise TrackingRefusedError(message) from error
        with self._errors():
            self._client.log_artifact(ref.run_id, str(file))

    def close(self, ref: TrackingStatus, *, outcome: str, end_time: datetime) -> None:
        """Set the run's status: FINISHED for Completed and StoppedEarly, else FAILED."""
        good = outcome in (Outcome.COMPLETED, Outcome.STOPPED_EARLY)
        with self._errors():
            self._client.set_tag(ref.run_id, "trainmaster.outcome", outcome)
            self._client.set_terminated(
                ref.run_id, status="FINISHED" if good else "FAILED", end_time=milliseconds(end_time)
            )

    @property
    def _client(self) -> MlflowClient:
        if self._connection is None:
            self._connection = MlflowClient(tracking_uri=self.uri)
        return self._connection

    def _experiment(self, name: str) -> str:
        client = self._client
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            database = sqlite_path(self.uri)
            # A database in a file would else put artifacts into the current folder.
            artifacts = None if database is None else (database.parent / "artifacts" / name).as_uri()
            return str(client.create_experiment(name, artifact_location=artifacts))
        if experiment.lifecycle_stage != "active":
            message = (
                f"experiment {name!r} was deleted in MLflow at {public_uri(self.uri)}; "
                f"`mlflow experiments restore -x {experiment.experiment_id}` brings it back"
            )
            raise TrackingRefusedError(message)
        return str(experiment.experiment_id)

    def _find(self, run: TrackedRun, *, experiment: str) -> Run | None:
        wanted = f"tags.`{TAG_UID}` = '{run.uid}' AND tags.`{TAG_RERUN}` = '{run.rerun}'"
        found = sorted(
            self._client.search_runs([experiment], filter_string=wanted),
            key=lambda one: (not one.data.metrics, one.info.start_time, one.info.run_id),
        )
        for duplicate in found[1:]:
            self._client.delete_run(duplicate.info.run_id)
        return found[0] if found else None

    def _create(self, run: TrackedRun, *, experiment: str) -> Run:
        tags = {
            TAG_UID: run.uid,
            TAG_RERUN: str(run.rerun),
            "trainmaster.namespace": run.namespace,
            "trainmaster.name": run.name,
            "trainmaster.workload": run.workload,
            "trainmaster.data_source": run.data_source or "",
            "trainmaster.spec_hash": run.spec_hash,
        }
        return self._client.create_run(
            experiment,
            start_time=milliseconds(run.start_time),
            tags={key: value for key, value in tags.items() if value},
            run_name=f"{run.name}-{run.rerun}" if run.rerun else run.name,
        )

    def _log_params(self, tracked: Run, run: TrackedRun) -> None:
        # Only those that lack: MLflow refuses to change a param, and one that differs must not stop the metrics.
        missing = [
            Param(name, str(value)[:PARAM_LENGTH])
            for name, value in sorted(run.hyperparameters.items())
            if name not in tracked.data.params
        ]
        for start in range(0, len(missing), BATCH_PARAMS):
            self._client.log_batch(tracked.info.run_id, params=missing[start : start + BATCH_PARAMS])

    def _url(self, experiment: str, run_id: str) -> str:
        if not self.uri.startswith("http"):
            return ""
        return f"{public_uri(self.uri).rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """MLflow's errors in our words: refused, or out of reach."""
        try:
            yield
        except MlflowException as error:
            message = f"MLflow at {public_uri(self.uri)}: {error.error_code}: {_first_line(error)}"
            if error.error_code in REFUSALS:
                raise TrackingRefusedError(message) from error
            raise TrackingUnreachableError(message) from error
        except ImportError as error:  # boto3 and the like, which MLflow imports where a server keeps artifacts
            message = f"MLflow at {public_uri(self.uri)} keeps artifacts where a package is needed to write: {error}"
            raise TrackingRefusedError(message) from error
        except (RequestException, SQLAlchemyError, OSError) as error:
            message = f"MLflow at {public_uri(self.uri)} cannot be reached: {_first_line(error)}"
            raise TrackingUnreachableError(message) from error


def _batches(points: Sequence[Point]) -> Iterator[list[Metric]]:
    """Metrics of whole points, at most `BATCH_METRICS` together."""
    batch: list[Metric] = []
    for point in points:
        time = milliseconds(point.time)
        metrics = [Metric(key, value, time, point.step) for key, value in metrics_of(point).items()]
        if len(batch) + len(metrics) > BATCH_METRICS:
            yield batch
            batch = []
        batch += metrics
    if batch:
        yield batch


def _size(file: Path) -> int:
    """Bytes of a file; -1, which nothing has, where it cannot be looked at."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
