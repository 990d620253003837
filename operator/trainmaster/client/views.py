"""What the client tells besides runs: events, launches, lines of logs, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from trainmaster.adapters.kubernetes.observed import JobFacts, PodFacts, observe_job
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvent:
    """One thing that was told of a run."""

    time: str
    """When it was told last; RFC 3339, UTC."""
    type: str
    """`Normal` or `Warning`."""
    reason: str
    message: str
    count: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One Job of a run."""

    launch: int
    """Its number, from 1."""
    name: str
    ended: bool
    exit_code: int | None
    """The launcher's; None: it runs, or nobody knows any more."""
    log: str = ""
    """How to read what it wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line that a launch wrote."""

    launch: int
    pod: str
    text: str
    """Without its end; what is no UTF-8 is replaced."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunChange:
    """A run as it is now; with `gone`, as it was last before it was deleted."""

    run: TrainingRun
    gone: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """What status tells of a run's numbers: the latest ones, and how far it is."""

    latest: Mapping[str, float]
    """By name; NaN and infinite where they were."""
    step: int
    epoch: int
    total_steps: int | None
    total_epochs: int | None
    percent: int
    eta_seconds: int | None


def metrics_of(status: TrainingRunStatus) -> Metrics:
    """The numbers in a status; zeros before the first report."""
    progress = status.progress
    return Metrics(
        latest=MappingProxyType({name: float(value) for name, value in status.metrics.items()}),
        step=progress.step if progress else 0,
        epoch=progress.epoch if progress else 0,
        total_steps=progress.total_steps if progress else None,
        total_epochs=progress.total_epochs if progress else None,
        percent=progress.percent if progress else 0,
        eta_seconds=progress.eta_seconds if progress else None,
    )


def event_of(raw: Json) -> RunEvent:
    """An Event as the API server has it."""
    time = raw.get("lastTimestamp") or raw.get("eventTime") or raw["metadata"].get("creationTimestamp") or ""
    return RunEvent(
        time=time,
        type=raw.get("type") or "",
        reason=raw.get("reason") or "",
        message=raw.get("message") or "",
        count=raw.get("count") or 1,
    )


def launch_of(job: JobFacts, pods: list[PodFacts], *, log: str) -> Launch:
    """A Job and its pods."""
    seen = observe_job(job, pods)
    return Launch(launch=job.launch, name=job.name, ended=job.ended is not None, exit_code=seen.exit_code, log=log)
