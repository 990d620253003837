"""What decisions need of Jobs and pods, kept instead of the objects: a tenth of the memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trainmaster.adapters.kubernetes.pod_words import deletion, disruption, end_reason, waiting
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_OK, EXIT_RETRY, POD_DELETED
from trainmaster.api.labels import ANNOTATION_PLACEMENT, ANNOTATION_RUN_NAME, API_VERSION, LABEL_LAUNCH, LABEL_RUN_UID
from trainmaster.api.problems import field_path
from trainmaster.api.protocol import TerminationMessage
from trainmaster.api.wording import explain
from trainmaster.core.snapshot import JobState, ObservedJob, Told

Json = dict[str, Any]

RULE_DISRUPTED: Final = 0
RULE_RETRY: Final = 1
RULE_CONFIGURATION: Final = 2
"""Places of the rules in a Job's podFailurePolicy (`manifest`): the Job's condition names the rule that ended it, and
it stays when the pod is gone."""
_RULE = re.compile(r"FailJob rule at index (\d+)")
CONTAINER: Final = "trainer"
"""Name of the launcher's container; others in its pod are somebody's sidecars."""
SHOWN_FAULTS: Final = 3
"""Of a termination message that cannot be read: its author learns of several, and the sentence stays short."""
ENDED_PHASES: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFacts:
    """One Job."""

    namespace: str
    name: str
    uid: str
    version: int = field(compare=False)
    run_uid: str
    """UID of the run that controls it; empty for a Job of somebody else."""
    run_name: str
    launch: int
    created_at: datetime | None
    placement: str
    suspended: bool
    deleting: bool
    ended: JobState | None
    ended_at: datetime | None
    rule: int | None
    """The rule of the podFailurePolicy that ended it."""
    active_pods: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PodFacts:
    """One pod of a launch."""

    namespace: str
    name: str
    uid: str
    version: int = field(compare=False)
    job_uid: str
    job_name: str
    run_uid: str
    run_name: str
    launch: int
    ended: bool
    deleting: bool
    running_since: datetime | None
    exit_code: int | None
    message: TerminationMessage | None
    unreadable: str
    """What is wrong with a termination message that is there and cannot be read."""
    node: str
    waiting: Told | None
    disruption: Told | None
    end_reason: str
    due_to_end: datetime | None
    """Of one that is being deleted: the request and the grace period."""


def job_facts(job: Json) -> JobFacts:
    """A Job as the API server has it, reduced."""
    meta, spec, status = job["metadata"], job.get("spec") or {}, job.get("status") or {}
    owner = _controller(meta)
    ended, ended_at, rule = _end(status)
    return JobFacts(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=_version(meta),
        run_uid=owner.get("uid", ""),
        run_name=owner.get("name", ""),
        launch=_launch(meta),
        created_at=datetime.fromisoformat(created) if (created := meta.get("creationTimestamp")) else None,
        placement=(meta.get("annotations") or {}).get(ANNOTATION_PLACEMENT, ""),
        suspended=bool(spec.get("suspend")),
        deleting="deletionTimestamp" in meta,
        ended=ended,
        ended_at=ended_at,
        rule=rule,
        active_pods=int(status.get("active") or 0) + int(status.get("terminating") or 0),
    )


def pod_facts(pod: Json) -> PodFacts:
    """A pod as the API server has it, reduced."""
    meta, status = pod["metadata"], pod.get("status") or {}
    labels = meta.get("labels") or {}
    owner: Json = next((o for o in meta.get("ownerReferences") or [] if o.get("controller")), {})
    containers = {c.get("name"): c for c in status.get("containerStatuses") or []}
    state: Json = (containers.get(CONTAINER) or {}).get("state") or {}
    ended: Json = state.get("terminated") or {}
    started = (state.get("running") or ended).get("startedAt")
    deleted = meta.get("deletionTimestamp")
    taken = disruption(status) or deletion(meta, ended)
    message, unreadable = _message(ended.get("message"))
    return PodFacts(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=_version(meta),
        job_uid=owner.get("uid", ""),
        job_name=owner.get("name", ""),
        run_uid=labels.get(LABEL_RUN_UID, ""),
        run_name=(meta.get("annotations") or {}).get(ANNOTATION_RUN_NAME, ""),
        launch=_launch(meta),
        ended=status.get("phase") in ENDED_PHASES,
        deleting=bool(deleted),
        running_since=datetime.fromisoformat(started) if started else None,
        exit_code=ended.get("exitCode"),
        message=message,
        unreadable=unreadable,
        node=(pod.get("spec") or {}).get("nodeName") or "",
        waiting=waiting(status, CONTAINER),
        disruption=taken,
        end_reason=end_reason(status, CONTAINER),
        due_to_end=datetime.fromisoformat(deleted) if deleted else None,
    )


def observe_job(job: JobFacts, pods: Sequence[PodFacts]) -> ObservedJob:
    """A Job and its pods as decisions see them."""
    own = [pod for pod in pods if pod.job_uid == job.uid]
    last = max(own, key=lambda pod: pod.version, default=None)
    # That a queue deleted an earlier pod says nothing of how the last one ended.
    taken = [d for pod in own if (d := pod.disruption) is not None and (pod is last or d.reason != POD_DELETED)]
    starts = [pod.running_since for pod in own if pod.running_since is not None]
    living = [pod for pod in own if not pod.ended]
    # One that is deleted was taken from a Job that may get another pod: a suspended one that was let go.
    over = not living and any(pod.running_since is not None and not pod.deleting for pod in own)
    state = _state(job, running=over or any(pod.running_since is not None for pod in living))
    held = (pod.waiting for pod in living if pod.waiting is not None)
    return ObservedJob(
        name=job.name,
        uid=job.uid,
        run_uid=job.run_uid,
        launch=job.launch,
        state=state,
        created_at=job.created_at,
        placement=job.placement,
        deleting=job.deleting,
        # The Job's own count covers pods that the watch has not shown yet; of an ended Job it is past.
        live_pods=len(living) if job.ended else max(len(living), job.active_pods),
        running_since=min(starts, default=None),
        ended_at=job.ended_at,
        exit_code=_exit_code(job, last),
        disrupted=job.rule == RULE_DISRUPTED or bool(taken),
        message=last.message if last else None,
        unreadable=last.unreadable if last else "",
        waiting=next(held, None) if state == "Pending" else None,
        disruption=next(iter(taken), None),
        end_reason=last.end_reason if last else "",
        node=last.node if last else "",
        due_to_end=max((pod.due_to_end for pod in living if pod.due_to_end is not None), default=None),
        pod_ended=state == "Running" and over,
        podless=job.ended == "Failed" and job.rule is None and not own,
    )


def stray_launches(pods: Iterable[PodFacts], jobs: Iterable[JobFacts]) -> frozenset[int]:
    """Launches whose Job is gone but whose pods still end."""
    there = {job.uid for job in jobs}
    return frozenset(pod.launch for pod in pods if not pod.ended and pod.job_uid not in there)


def _state(job: JobFacts, *, running: bool) -> JobState:
    if job.ended is not None:
        return job.ended
    if job.suspended:
        return "Suspended"
    return "Running" if running else "Pending"


def _exit_code(job: JobFacts, pod: PodFacts | None) -> int | None:
    """The pod's exit code; of a pod that is gone, what the Job's condition implies."""
    if pod is not None and pod.exit_code is not None:
        return pod.exit_code
    if job.ended == "Complete":
        return EXIT_OK
    return {RULE_RETRY: EXIT_RETRY, RULE_CONFIGURATION: EXIT_CONFIGURATION}.get(
        job.rule if job.rule is not None else -1
    )


def _end(status: Json) -> tuple[JobState | None, datetime | None, int | None]:
    for condition in status.get("conditions") or []:
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            found = _RULE.search(condition.get("message") or "")
            moment = datetime.fromisoformat(condition["lastTransitionTime"])
            return condition["type"], moment, int(found[1]) if found else None
    return None, None, None


def _controller(meta: Json) -> Json:
    """The TrainingRun that controls an object; empty when something else does, or nothing."""
    for owner in meta.get("ownerReferences") or []:
        if owner.get("controller") and owner.get("kind") == "TrainingRun" and owner.get("apiVersion") == API_VERSION:
            found: Json = owner
            return found
    return {}


def _launch(meta: Json) -> int:
    label = (meta.get("labels") or {}).get(LABEL_LAUNCH, "")
    return int(label) if label.isdigit() else 0


def _version(meta: Json) -> int:
    return int(meta["resourceVersion"])


def _message(raw: str | None) -> tuple[TerminationMessage | None, str]:
    """The launcher's last word, and what is wrong with one that cannot be read; neither where there is none."""
    if not raw:
        return None, ""
    try:
        return TerminationMessage.model_validate_json(raw), ""
    except ValidationError as error:
        return None, "; ".join(_wrong(detail) for detail in error.errors(include_url=False)[:SHOWN_FAULTS])


def _wrong(detail: ErrorDetails) -> str:
    if detail["type"] == "json_invalid":
        return "it is no JSON"
    message, _ = explain(detail)
    return f"{field_path(detail['loc'])}: {message}" if detail["loc"] else message
