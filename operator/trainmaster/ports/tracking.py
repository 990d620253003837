"""The port to experiment tracking: where people look at curves, after the fact and across runs.

The tracking server is the only memory of what it has been told: `logged_steps` reads it back. So a kill between telling
and noting can neither lose a point nor double it, and training never waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from trainmaster.api.errors import TrainmasterError
from trainmaster.api.hyperparameters import Scalar
from trainmaster.api.trainingrun import TrackingStatus
from trainmaster.core.series import Point
from trainmaster.ports.series import Kind


class TrackingError(TrainmasterError):
    """The tracking server did not do what it was asked to."""


class TrackingUnreachableError(TrackingError):
    """No usable answer: later, the same request may well succeed. Concerns every run."""


class TrackingRefusedError(TrackingError):
    """The server understood and refused: a person must change something. Concerns the run that asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedRun:
    """One rerun of a run, as tracking shows it; (uid, rerun) is its identity."""

    uid: str
    namespace: str
    name: str
    rerun: int
    workload: str
    start_time: datetime
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)
    data_source: str | None = None
    spec_hash: str = ""


class Tracker(Protocol):
    """Synchronous, each call bounded in time; used from one thread. Every method may raise `TrackingError`."""

    def open(self, run: TrackedRun) -> TrackingStatus:
        """Find the tracked run, or create it: however often this is called, there is one."""

    def logged_steps(self, ref: TrackingStatus, kind: Kind) -> frozenset[int]:
        """Steps of which a point of this kind is in the history, read back from the server."""

    def log(self, ref: TrackingStatus, points: Sequence[Point]) -> None:
        """Add points to the history, each with all its metrics or not at all.

        Logging the same point twice changes nothing. The caller sends at most one point per (kind, step): a second
        one, of a newer generation, would stand beside the first.
        """

    def missing(self, ref: TrackingStatus, files: Sequence[Path]) -> tuple[Path, ...]:
        """Those of these files that the run has no copy of, by name and size, read back from the server."""

    def keep(self, ref: TrackingStatus, file: Path) -> None:
        """Keep a copy of a file with the run, under its name; doing it again changes nothing.

        A file that cannot be read is refused.
        """

    def close(self, ref: TrackingStatus, *, outcome: str, end_time: datetime) -> None:
        """Mark the run as ended, with one of `conditions.Outcome`; doing it again changes nothing."""
