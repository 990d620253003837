"""A launch whose pod does not run: why, in the words of scheduler and kubelet, and whether it ever can.

Waiting costs the run nothing but time: no budget is charged, and `spec.schedulingDeadlineSeconds` bounds it. A cause
that no time can mend ends the run at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from trainmaster.api.conditions import READY, Phase, Reason
from trainmaster.api.trainingrun import TrainingRunSpec, TrainingRunStatus
from trainmaster.core.run.standing import Standing
from trainmaster.core.snapshot import ObservedJob, Told

UNSCHEDULED: Final = frozenset({"Unschedulable", "SchedulerError"})
GATED: Final = "SchedulingGated"
"""Somebody keeps the scheduler from looking at the pod: a queue of pods, as Kueue is one as well."""
NO_IMAGE: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
BACK_OFF: Final = "ImagePullBackOff"
"""Between two attempts; it need not repeat why the last one failed."""
HOPELESS: Final = frozenset({"InvalidImageName"})
"""What only another spec can mend."""
LOST_SECONDS: Final = 15
"""A kubelet that lives writes the end of a pod down within seconds of the grace period; this is a busy one's time."""
POD_SECONDS: Final = 30
"""A Job has its pod within a second, on a busy control plane within some; after this long something refuses it."""
NOT_YET: Final = "the launch's pod is not running yet"


def waiting_standing(job: ObservedJob | None, status: TrainingRunStatus, *, now: datetime) -> Standing:
    """Where a run stands whose launch has no running pod."""
    told = job.waiting if job is not None else None
    missing_at = pod_missing_at(job, status)
    if job is not None and missing_at is not None and now >= missing_at:
        message = (
            f"the Job has no pod after {POD_SECONDS} s: a quota or an admission rule may refuse it; "
            f"`kubectl describe job {job.name}` says which"
        )
        return Standing(phase=Phase.PENDING, reason=Reason.POD_NOT_CREATED, message=message)
    if told is None:
        return Standing(phase=Phase.PENDING, reason=Reason.STARTING, message=NOT_YET)
    reason, words = _told(told)
    return Standing(phase=Phase.PENDING, reason=reason, message=f"{words}: {told.message or told.reason}")


def pod_missing_at(job: ObservedJob | None, status: TrainingRunStatus) -> datetime | None:
    """When it is worth telling that a Job has no pod; time in a queue does not count."""
    if job is None or job.state != "Pending" or job.live_pods:
        return None
    # A Job that was refused for a while is younger than its launch.
    since = job.created_at or status.launch_time
    return since and since + timedelta(seconds=status.queued_seconds + POD_SECONDS)


def _told(told: Told) -> tuple[str, str]:
    if told.reason in UNSCHEDULED:
        return Reason.UNSCHEDULABLE, "no node takes the pod"
    if told.reason == GATED:
        return Reason.JOB_QUEUED, "the pod is held back by a scheduling gate"
    if told.reason in NO_IMAGE | HOPELESS:
        return Reason.IMAGE_PULL_FAILED, f"the image cannot be pulled ({told.reason})"
    return Reason.CONTAINER_NOT_STARTED, f"the container does not start ({told.reason})"


def is_hopeless(job: ObservedJob | None, spec: TrainingRunSpec) -> bool:
    """Whether no time can make the launch's pod run.

    An image that the run does not name is the operator's, or a sidecar's: whoever runs those can mend it.
    """
    told = job.waiting if job is not None else None
    return told is not None and told.reason in HOPELESS and told.of_run and spec.image is not None


def steady(standing: Standing, status: TrainingRunStatus, job: ObservedJob | None) -> Standing:
    """The standing, with the words of the last failed attempt while the kubelet pauses before the next one."""
    told = job.waiting if job is not None else None
    if told is None or told.reason != BACK_OFF:
        return standing
    before = status.condition(READY)
    if before is None or before.reason != standing.reason:
        return standing
    return Standing(phase=standing.phase, reason=standing.reason, message=before.message)


def lost_at(job: ObservedJob | None) -> datetime | None:
    """When a pod that is being deleted counts as lost with its node, unless its end is seen before."""
    if job is None or job.due_to_end is None or not job.live_pods:
        return None
    return job.due_to_end + timedelta(seconds=LOST_SECONDS)


def lost_standing(job: ObservedJob | None, now: datetime) -> Standing | None:
    """Where a run stands whose pod should have ended and has not: it may train on, so nothing else is started."""
    due = lost_at(job)
    if job is None or due is None or now < due:
        return None
    why = f" ({job.disruption})" if job.disruption is not None else ""
    message = (
        f"node {job.node or 'unknown'} does not end the pod that is being deleted{why}: it may still train there, so "
        "the next launch waits until it is gone. It goes when the node answers again, when the Node object is deleted, "
        "or when a node known to be off gets the taint node.kubernetes.io/out-of-service"
    )
    return Standing(phase=Phase.PENDING, reason=Reason.NODE_LOST, message=message)
