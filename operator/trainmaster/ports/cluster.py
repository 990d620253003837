"""The port to where runs live and train: a Kubernetes cluster, or this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.api.plan import Plan
from trainmaster.api.runrecord import RunRecordSpec
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus
from trainmaster.core.snapshot import CreateJob, DeleteJob, Event, ObservedJob, Owner, WriteRecord


class ConflictError(TrainmasterError):
    """The object has changed since it was read: read again and decide again."""


NAMESPACE_TERMINATING: Final = "NamespaceTerminating"
"""Reason of a refusal that nothing mends: the run itself is about to go."""


class RefusedEffectError(TrainmasterError):
    """The cluster will not have an effect as things stand: no permission, a quota, an object that it finds invalid.

    Trying again at once is of no use; `reason` is the cluster's word for it, `message` its sentence.
    """

    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a cluster shows of one run."""

    run: TrainingRun
    jobs: tuple[ObservedJob, ...] = ()
    stray_pods: frozenset[int] = frozenset()
    owner: Owner | None = None
    recorded: frozenset[str] = frozenset()
    """Those of `core.run.records.unwritten(run.status)` under whose names there is a RunRecord, whoever wrote it."""
    earlier: RunRecordSpec | None = None
    """What `core.run.records.earlier_success` finds among the RunRecords of the run's namespace.

    Asked for, from the server, only where `live` and `core.run.records.asks_for_earlier(run)`.
    """
    live: bool = False
    """Read from the server for this call; only then does absence prove anything."""


class Cluster(Protocol):
    """Where runs and their Jobs are. All writes are fenced: by resourceVersion, by UID, or by a deterministic name.

    `create_job`, `delete_job` and `write_record` raise RefusedEffectError where the cluster will not have them.
    """

    async def observe(self, key: Key, *, live: bool) -> Observation | None:
        """What is known of a run, from a cache or (live) from the server; None when there is no such run."""

    async def write_status(self, run: TrainingRun, status: TrainingRunStatus) -> TrainingRun:
        """Write a whole status.

        Returns:
            The object as stored now.

        Raises:
            ConflictError: `run` is not the stored version any more, or another object has its name.
        """

    async def create_job(self, run: TrainingRun, effect: CreateJob) -> None:
        """Create a Job; one that exists under this name is left as it is: `observe` shows whose it is."""

    async def delete_job(self, run: TrainingRun, effect: DeleteJob) -> None:
        """Ask a Job to end; one that is gone or has another UID is left alone."""

    async def write_record(self, run: TrainingRun, effect: WriteRecord) -> None:
        """Create a RunRecord in the run's namespace; one that exists under this name is left as it is."""

    async def emit(self, run: TrainingRun, events: Sequence[Event]) -> None:
        """Tell Events; failing to is logged, never raised: they are for people."""

    def localise(self, plan: Plan) -> Plan:
        """The plan as the launcher's pod sees it: claims as folders."""
