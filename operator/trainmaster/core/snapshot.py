"""What a decision is made from, and what it consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from trainmaster.api.plan import Plan
from trainmaster.api.protocol import CheckpointManifest, TerminationMessage, Verdict
from trainmaster.api.runrecord import RunRecordSpec
from trainmaster.api.trainingrun import TrackingStatus, TrainingRun, TrainingRunStatus
from trainmaster.core.series import Point

JobState = Literal["Pending", "Suspended", "Running", "Complete", "Failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The object that controls a run: a study, or the parent of a schedule."""

    uid: str
    suspended: bool = False
    deleting: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a cluster says about a pod: its word for it, and a sentence."""

    reason: str
    message: str = ""
    of_run: bool = True
    """Whether it is about what the run itself asked for: not a sidecar, nor the container that brings the launcher."""

    def __str__(self) -> str:
        """Both."""
        return f"{self.reason}: {self.message}" if self.message else self.reason


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedJob:
    """One Job, as its adapter saw it."""

    name: str
    uid: str
    run_uid: str
    """UID of the run that owns it; another's UID under our name is a conflict."""
    launch: int
    state: JobState
    created_at: datetime | None = None
    """When it was created, as its cluster says; None: not known."""
    placement: str = ""
    """`core.run.placement.placement_of` the spec that it was made of; empty: not known."""
    deleting: bool = False
    live_pods: int = 0
    """Pods that run or are still ending."""
    running_since: datetime | None = None
    """Since when its pods run; of one that was queued again, since it left the queue."""
    ended_at: datetime | None = None
    """When it ended, as its cluster says; None: the moment it was seen to have ended."""
    exit_code: int | None = None
    disrupted: bool = False
    """The cluster ended it: eviction, preemption, a lost node."""
    message: TerminationMessage | None = None
    unreadable: str = ""
    """What is wrong with a last word that is there and cannot be read: a field, and why."""
    waiting: Told | None = None
    """Why its pod does not run, where scheduler or kubelet have said so."""
    disruption: Told | None = None
    """How the cluster ended it, where it has said so."""
    end_reason: str = ""
    """The cluster's word for the end of the launcher's container, where it says more than the exit code: OOMKilled."""
    node: str = ""
    """Node of its newest pod."""
    due_to_end: datetime | None = None
    """When the last of its pods that are being deleted is to have ended: the request and the grace period."""
    pod_ended: bool = False
    """Its pod has run and has ended, and the cluster has not said yet what that makes of the Job: some seconds."""
    podless: bool = False
    """It has failed, nothing says why, and its pod, which would, is not there any more."""

    @property
    def finished(self) -> bool:
        """Whether it has ended and nothing of it runs any more."""
        return self.state in {"Complete", "Failed"} and not self.live_pods


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerState:
    """What the launcher of one launch has reported."""

    launch: int
    generation: int
    phase: str
    heard_at: datetime | None = None
    """When its last report came; None: this process has had none of it."""
    storage: str = ""
    """What storage refuses it, in its words; empty: nothing."""
    step: int = 0
    epoch: int = 0
    total_steps: int | None = None
    total_epochs: int | None = None
    steps_per_second: float | None = None
    crashes: int = 0
    """Crashes of the training process within this launch."""
    last_crash: str = ""
    checkpoint: CheckpointManifest | None = None
    applied: Mapping[str, int] = field(default_factory=dict)
    """Directives that took effect, and at which step."""
    verdict: Verdict | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An effect that the cluster will not let us have as things stand: no permission, a quota, an invalid object."""

    name: str
    """Of the object that the effect was about."""
    message: str
    """The cluster's words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Everything a decision may look at."""

    run: TrainingRun
    jobs: tuple[ObservedJob, ...] = ()
    stray_pods: frozenset[int] = frozenset()
    """Launches whose Job is gone but whose pods still end."""
    owner: Owner | None = None
    trainer: TrainerState | None = None
    points: tuple[Point, ...] = ()
    """The run's series in this rerun, oldest first, bounded."""
    tracking: TrackingStatus | None = None
    """Where the metrics of this rerun are tracked."""
    recorded: frozenset[str] = frozenset()
    """Names of `core.run.records.unwritten` under which there is a RunRecord, whoever wrote it."""
    earlier: RunRecordSpec | None = None
    """What `core.run.records.earlier_success` found, for a run that `asks_for_earlier`."""
    refusals: tuple[Refusal, ...] = ()
    """Effects of open decisions that were refused when they were last tried."""
    live: bool = False
    """Read from the server just now, not from a cache: only then does absence prove anything."""

    @property
    def own_jobs(self) -> tuple[ObservedJob, ...]:
        """Jobs of this run; others under its names are in the way, but never touched and never believed."""
        return tuple(job for job in self.jobs if job.run_uid == self.run.metadata.uid)

    def refusal_of(self, name: str) -> Refusal | None:
        """Why an effect on the object of this name was refused, if it was."""
        return next((refusal for refusal in self.refusals if refusal.name == name), None)

    @property
    def foreign_names(self) -> frozenset[str]:
        """Names that Jobs of others hold."""
        return frozenset(job.name for job in self.jobs if job.run_uid != self.run.metadata.uid)


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateJob:
    """Create the Job of a launch; adopt it when it exists and is ours."""

    name: str
    plan: Plan
    avoided_nodes: tuple[str, ...] = ()
    """Names of nodes that the pod should keep away from if it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeleteJob:
    """Delete a Job, if it still has this UID; its pods get SIGTERM and the grace period."""

    name: str
    uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteRecord:
    """Create a RunRecord without an owner; one that exists under this name is left as it is."""

    name: str
    record: RunRecordSpec
    labels: Mapping[str, str]


Effect = CreateJob | DeleteJob | WriteRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something to tell in an Event."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a decision consists of."""

    status: TrainingRunStatus
    effects: tuple[Effect, ...] = ()
    events: tuple[Event, ...] = ()
    wake_at: datetime | None = None
    """When to decide again, if nothing happens before."""
    look_live: bool = False
    """The cache is not proof enough: read from the server and decide again."""
