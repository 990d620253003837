"""Condition types, reasons, phases, decision kinds and outcomes: every CamelCase word that status can show.

They are strings, not enumerations, wherever status is read: a newer version may have written a word that this one
does not know.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from trainmaster.api.base import OpenModel, Time

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
SUSPENDED: Final = "Suspended"
SUCCEEDED: Final = "Succeeded"
CONDITION_TYPES: Final = (READY, RECONCILING, STALLED, SUSPENDED, SUCCEEDED)

ConditionStatus = Literal["True", "False", "Unknown"]


class Phase:
    """`status.phase`: one word for people; programs read the conditions."""

    PENDING: Final = "Pending"
    QUEUED: Final = "Queued"
    RUNNING: Final = "Running"
    SUSPENDED: Final = "Suspended"
    SUCCEEDED: Final = "Succeeded"
    FAILED: Final = "Failed"
    UNKNOWN: Final = "Unknown"
    """The Job completed, but nobody heard a verdict: neither success nor failure can be claimed."""

    TERMINAL: Final = frozenset({SUCCEEDED, FAILED, UNKNOWN})


class Reason:
    """Reasons of conditions, decisions, attempts and Events."""

    ACTIVE_DEADLINE_EXCEEDED: Final = "ActiveDeadlineExceeded"
    ALREADY_TRAINED: Final = "AlreadyTrained"
    BACK_OFF: Final = "BackOff"
    COMPLETED: Final = "Completed"
    CONTAINER_NOT_STARTED: Final = "ContainerNotStarted"
    CRASH_BUDGET_EXHAUSTED: Final = "CrashBudgetExhausted"
    CRASHED: Final = "Crashed"
    DISRUPTED: Final = "Disrupted"
    FIRST_LAUNCH: Final = "FirstLaunch"
    GRADIENT_EXPLOSION: Final = "GradientExplosion"
    HEAL_BUDGET_EXHAUSTED: Final = "HealBudgetExhausted"
    HUNG: Final = "Hung"
    IMAGE_PULL_FAILED: Final = "ImagePullFailed"
    INVALID_CONFIGURATION: Final = "InvalidConfiguration"
    JOB_QUEUED: Final = "JobQueued"
    JOB_REFUSED: Final = "JobRefused"
    JOB_VANISHED: Final = "JobVanished"
    NAME_CONFLICT: Final = "NameConflict"
    NODE_LOST: Final = "NodeLost"
    OUT_OF_MEMORY: Final = "OutOfMemory"
    OWNER_SUSPENDED: Final = "OwnerSuspended"
    PLACEMENT_CHANGED: Final = "PlacementChanged"
    POD_NOT_CREATED: Final = "PodNotCreated"
    REPEATED_CRASH: Final = "RepeatedCrash"
    RERUN: Final = "Rerun"
    RESUMED: Final = "Resumed"
    RUNNING: Final = "Running"
    SCHEDULING_DEADLINE_EXCEEDED: Final = "SchedulingDeadlineExceeded"
    STARTING: Final = "Starting"
    STOPPED_EARLY: Final = "StoppedEarly"
    SUSPENDED: Final = "Suspended"
    SUPERSEDED: Final = "Superseded"
    SUSPEND_REQUESTED: Final = "SuspendRequested"
    TTL_EXPIRED: Final = "TtlExpired"
    UNSCHEDULABLE: Final = "Unschedulable"
    VERDICT_MISSING: Final = "VerdictMissing"
    WAITING_FOR_PODS: Final = "WaitingForPods"


POD_DELETED: Final = "PodDeleted"
"""Our word for the disruption of a pod that was deleted while it ran; it says nothing against its node."""


class DecisionKind:
    """What a decision makes happen."""

    LAUNCH: Final = "Launch"
    """Create the Job of the launch that the decision names."""
    END_LAUNCH: Final = "EndLaunch"
    """Delete that Job: suspension, deadline, rerun."""
    CLEAN_UP: Final = "CleanUp"
    """Delete what a finished run left, after `ttlSecondsAfterFinished`."""
    ADJUST: Final = "Adjust"
    """Set hyperparameters of the living training process, by a directive."""
    RECORD: Final = "Record"
    """Write the RunRecord that the decision carries: what is left when the run itself is gone."""


class DecisionState:
    """How far a decision has come; one that is not `Done` is never dropped from status."""

    RECORDED: Final = "Recorded"
    DONE: Final = "Done"
    VOID: Final = "Void"
    """Overtaken: the launch or the run ended before it could take effect."""
    OBSERVED: Final = "Observed"
    """Mode Observe: it would have been taken; nothing was done."""


class Outcome:
    """How a launch ended, as its launcher says."""

    COMPLETED: Final = "Completed"
    STOPPED_EARLY: Final = "StoppedEarly"
    RETRY: Final = "Retry"
    """A new pod, please (exit code 75)."""
    FAILED: Final = "Failed"


EXIT_OK: Final = 0
EXIT_CRASHED: Final = 1
EXIT_RETRY: Final = 75
"""EX_TEMPFAIL of sysexits: a new pod, please."""
EXIT_CONFIGURATION: Final = 78
"""EX_CONFIG of sysexits: no retry can help."""


class Condition(OpenModel):
    """One condition of an object, as the Kubernetes API conventions define it."""

    type: str = Field(description="What it is about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(description="Why, in one word.")
    message: str = Field("", description="Why, for people.")
    last_transition_time: Time = Field(description="When `status` last changed.")
    observed_generation: int = Field(0, description="Generation of the spec that it is about.")
