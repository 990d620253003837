"""What should happen next to a run: the one place where its course changes.

A run has at most one living launch. `steer` first accounts for a launch that has ended, then ends a living one that
must end (suspension, rerun, deadline, a stray older one), and else opens the next one. Every change of course is a
decision in status; nothing is done here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from trainmaster.api.conditions import DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.labels import job_name
from trainmaster.api.trainingrun import Attempt, Decision, TrainingRun, TrainingRunStatus
from trainmaster.core.journal import KEPT_ATTEMPTS, close_attempt, decision_id, open_decisions, record, settle
from trainmaster.core.plan import awaits_plan, first_plan, without_content
from trainmaster.core.run.absorb import current_job, new_launch
from trainmaster.core.run.account import FINAL_ORDERS, charge, has_told, is_repeated, ordered_end, ordered_ending
from trainmaster.core.run.deadlines import backs_off, exceeded, expiry, is_quick, seconds_between
from trainmaster.core.run.hearing import heard_words
from trainmaster.core.run.nodes import avoided, note, note_failure, remembered
from trainmaster.core.run.outcome import Ending, classify, invalid_ending
from trainmaster.core.run.placement import is_outdated
from trainmaster.core.run.records import asks_for_earlier, decide_record, taken_over
from trainmaster.core.run.standing import Standing, terminal_standing
from trainmaster.core.run.waiting import is_hopeless, lost_standing, steady, waiting_standing
from trainmaster.core.run.words import cut, success_words
from trainmaster.core.snapshot import ObservedJob, Snapshot, Told

QUEUED = "the Job is suspended by somebody else, such as a queue: its pod starts when the Job's spec.suspend is false"

CLOSING = "the pod has ended, the Job is being closed"
SUSPENDED_WORDS = "suspended by spec.suspend; false resumes it"
OWNER_SUSPENDED_WORDS = "suspended with its owner"


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """The new status, where the run stands, and whether a look at the server is needed to go on."""

    status: TrainingRunStatus
    standing: Standing
    look_live: bool = False


def steer(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    """The run's course from here."""
    if _living(status):
        return _steer_living(snapshot, status, now)
    if _rerun_wanted(snapshot, status):
        status = _start_rerun(snapshot, status)
    if status.phase in Phase.TERMINAL:
        return _steer_finished(snapshot, status, now)
    return _steer_idle(snapshot, status, now)


def _living(status: TrainingRunStatus) -> bool:
    return status.launch > 0 and status.launch_outcome is None


def _rerun_wanted(snapshot: Snapshot, status: TrainingRunStatus) -> bool:
    return snapshot.run.spec.rerun != status.observed_rerun or _is_mended(snapshot.run, status)


def _is_mended(run: TrainingRun, status: TrainingRunStatus) -> bool:
    """Whether the spec has changed of a run that failed before its first launch: only its spec can have been wrong."""
    return status.phase == Phase.FAILED and not status.launch and run.metadata.generation > status.observed_generation


# -- a launch that lives, as far as status knows ------------------------------------------------------------------


def _steer_living(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    job = current_job(snapshot, status)
    if job is not None and job.finished:
        return _account(snapshot, status, job=job, now=now)
    if job is None and not open_decisions(status, DecisionKind.LAUNCH):
        return _vanished(snapshot, status, now)
    reason = _why_end(snapshot, status, now)
    standing = _living_standing(snapshot, status, job=job, ending=reason, now=now)
    if job is not None and standing.reason == Reason.NODE_LOST:
        # Now, for a pod that is removed with its node says nothing any more.
        failures = note(status, node=job.node, reason=standing.message, now=now)
        status = status.model_copy(update={"node_failures": failures})
    course = Course(status=status, standing=standing)
    # A Job that has ended already, or whose pod has, needs no order to end: what it did is its own.
    over = job is not None and (job.state in {"Complete", "Failed"} or job.pod_ended)
    if reason is not None and not over and not _is_ending(status):
        course = _end_launch(snapshot, course, job=job, reason=reason, now=now)
    return _end_strays(snapshot, course, now)


def _is_ending(status: TrainingRunStatus) -> bool:
    return any(d.launch == status.launch for d in open_decisions(status, DecisionKind.END_LAUNCH))


def _end_launch(snapshot: Snapshot, course: Course, *, job: ObservedJob | None, reason: str, now: datetime) -> Course:
    """End the living launch, or withdraw it if its Job is not there yet; only the server knows which."""
    if not snapshot.live:
        return replace(course, look_live=True)
    if job is None:
        return _withdraw(snapshot, course.status, reason=reason, now=now)
    waits = reason in FINAL_ORDERS and job.state == "Pending"
    words = cut(waiting_standing(job, course.status, now=now).message) if waits else ""
    status = _record(course.status, DecisionKind.END_LAUNCH, reason=reason, now=now, evidence=words)
    return replace(course, status=status)


def _why_end(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> str | None:
    run, owner = snapshot.run, snapshot.owner
    if _rerun_wanted(snapshot, status):
        return Reason.RERUN
    if run.spec.suspend:
        return Reason.SUSPEND_REQUESTED
    if owner is not None and (owner.suspended or owner.deleting):
        return Reason.OWNER_SUSPENDED
    if is_hopeless(current_job(snapshot, status), run.spec):
        return Reason.INVALID_CONFIGURATION
    late = exceeded(run, status, now)
    if late is None and is_outdated(current_job(snapshot, status), run.spec):
        return Reason.PLACEMENT_CHANGED
    return late


def _living_standing(
    snapshot: Snapshot, status: TrainingRunStatus, *, job: ObservedJob | None, ending: str | None, now: datetime
) -> Standing:
    if has_name_conflict(snapshot, status):
        message = (
            f"a Job of another owner has the name that this launch needs, {_name(snapshot, status.launch)}: "
            "rename the run, or delete that Job"
        )
        return Standing(phase=Phase.PENDING, reason=Reason.NAME_CONFLICT, message=message)
    standing = steady(_going_on(snapshot, job, status, ending=ending, now=now), status, job)
    return _refused(snapshot, standing, _name(snapshot, status.launch))


def _going_on(
    snapshot: Snapshot, job: ObservedJob | None, status: TrainingRunStatus, *, ending: str | None, now: datetime
) -> Standing:
    lost = lost_standing(job, now)
    if lost is not None:
        return lost
    if job is None or job.state in {"Pending", "Complete", "Failed"}:
        waiting = waiting_standing(job, status, now=now)
        return replace(waiting, reason=ending) if ending else waiting
    if job.state == "Suspended":
        return Standing(phase=Phase.QUEUED, reason=ending or Reason.JOB_QUEUED, message=QUEUED)
    message = CLOSING if job.pod_ended else heard_words(snapshot.trainer, status, now)
    return Standing(phase=Phase.RUNNING, reason=ending or Reason.RUNNING, message=message)


def has_name_conflict(snapshot: Snapshot, status: TrainingRunStatus) -> bool:
    """Whether the newest launch has no Job because another owner's has its name."""
    return current_job(snapshot, status) is None and _name(snapshot, status.launch) in snapshot.foreign_names


def _refused(snapshot: Snapshot, standing: Standing, *names: str) -> Standing:
    """The standing, if none of these Jobs was refused to be created or deleted; else that it was."""
    found = [refusal for name in names if (refusal := snapshot.refusal_of(name)) is not None]
    if not found:
        return standing
    return replace(standing, reason=Reason.JOB_REFUSED, message=found[0].message)


def _name(snapshot: Snapshot, launch: int) -> str:
    return job_name(snapshot.run.metadata.name, uid=snapshot.run.metadata.uid, launch=launch)


def _vanished(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    """The launch's Job was there and is not seen now: a look at the server tells a stale cache from a deletion."""
    waiting = Standing(phase=Phase.PENDING, reason=Reason.WAITING_FOR_PODS, message="the last launch's pods are ending")
    if not snapshot.live:
        return Course(status=status, standing=waiting, look_live=True)
    if status.launch in snapshot.stray_pods:
        return Course(status=status, standing=waiting)
    ghost = ObservedJob(
        name="",
        uid="",
        run_uid=snapshot.run.metadata.uid,
        launch=status.launch,
        state="Failed",
        disrupted=True,
        disruption=Told(reason=Reason.JOB_VANISHED, message="somebody deleted its Job"),
    )
    return _account(snapshot, status, job=ghost, now=now)


def _withdraw(snapshot: Snapshot, status: TrainingRunStatus, *, reason: str, now: datetime) -> Course:
    """A launch that was recorded, has no Job on the server, and is not wanted any more."""
    ids = frozenset(d.id for d in open_decisions(status, DecisionKind.LAUNCH))
    status = settle(status, ids=ids, state=DecisionState.VOID)
    status = status.model_copy(update={"launch_outcome": reason, "launch_end_time": now})
    return _after(snapshot, status, ending=ordered_ending(reason, words=""), now=now)


# -- a launch that has ended -----------------------------------------------------------------------------------------


def _account(snapshot: Snapshot, status: TrainingRunStatus, *, job: ObservedJob, now: datetime) -> Course:
    """Take the ending of a launch into status, once, and go on from there."""
    if job.podless and not snapshot.live:
        # That its pod is not seen may be this cache's lag: only the server proves that it is gone.
        waiting = Standing(phase=Phase.PENDING, reason=Reason.WAITING_FOR_PODS, message="the launch has ended")
        return Course(status=status, standing=waiting, look_live=True)
    # A pod that is gone cannot say any more where it was.
    job = replace(job, node=job.node or status.launch_node)
    ending, told = classify(job, snapshot.trainer), has_told(job, snapshot.trainer)
    charged = charge(status, ending, told=told)
    ordered = ordered_end(status)
    if ordered is not None and ending.kind in {"Disrupted", "Crashed"}:
        ending, charged = ordered_ending(ordered.reason, words=ordered.evidence), {}
    ended_at = min(job.ended_at or now, now)
    quick = is_quick(status, ended_at) and ordered is None
    update: dict[str, object] = {
        "active_seconds": status.active_seconds + seconds_between(status.running_time, ended_at),
        "launch_end_time": now,
        "launch_outcome": ending.reason,
        "launch_end_message": cut(ending.message),
        "quick_ends": status.quick_ends + 1 if quick else 0,
        "queued_since": None,
        "node_failures": note_failure(snapshot.run, status, job=job, ending=ending, told=told, now=now),
    }
    return _after(snapshot, status.model_copy(update=update | charged), ending=ending, now=now)


def _after(snapshot: Snapshot, status: TrainingRunStatus, *, ending: Ending, now: datetime) -> Course:
    if ending.kind in {"Succeeded", "Failed", "Unknown"}:
        return _finish(snapshot, status, ending=ending, now=now)
    budget = snapshot.run.spec.recovery.budgets.crashes
    if ending.kind == "Crashed" and status.crashes > budget:
        message = f"{status.crashes} crashes, {budget} allowed; the last one: {ending.message}"
        exhausted = Ending(kind="Failed", reason=Reason.CRASH_BUDGET_EXHAUSTED, message=message)
        return _finish(snapshot, status, ending=exhausted, now=now)
    if ending.reason == Reason.OUT_OF_MEMORY and is_repeated(status, ending.reason):
        message = f"twice, and no step further: {ending.message}"
        return _finish(snapshot, status, ending=replace(ending, kind="Failed", message=message), now=now)
    return steer(snapshot, status, now)


def _finish(snapshot: Snapshot, status: TrainingRunStatus, *, ending: Ending, now: datetime) -> Course:
    """End the run, and have it recorded."""
    course = _end(status, ending, now)
    return replace(course, status=decide_record(snapshot, course.status, now=now))


def _end(status: TrainingRunStatus, ending: Ending, now: datetime) -> Course:
    status = _overtake(status, DecisionKind.LAUNCH, DecisionKind.ADJUST)
    update = {
        "phase": ending.kind,
        "completion_time": now,
        "launch_outcome": ending.reason,
        "attempts": close_attempt(status.attempts, outcome=ending.reason),
    }
    message = ending.message or (success_words(ending.reason, status) if ending.kind == Phase.SUCCEEDED else "")
    standing = Standing(phase=ending.kind, reason=ending.reason, message=message)
    return Course(status=status.model_copy(update=update), standing=standing)


def _overtake(status: TrainingRunStatus, *kinds: str) -> TrainingRunStatus:
    """Status whose open decisions of these kinds are void: what they were for has ended."""
    ids = frozenset(d.id for d in open_decisions(status, *kinds))
    return settle(status, ids=ids, state=DecisionState.VOID)


# -- no launch lives --------------------------------------------------------------------------------------------------


def _start_rerun(snapshot: Snapshot, status: TrainingRunStatus) -> TrainingRunStatus:
    """A fresh series under the same object: counters and times start again, launches and generations go on."""
    status = _overtake(status, DecisionKind.ADJUST, DecisionKind.CLEAN_UP)
    kept: dict[str, object] = {
        "launch": status.launch,
        "launch_outcome": status.launch_outcome,
        "decisions": status.decisions,
        "attempts": close_attempt(status.attempts, outcome=Reason.RERUN),
        "conditions": status.conditions,
        "observed_generation": status.observed_generation,
        "observed_rerun": snapshot.run.spec.rerun,
        "reruns": status.reruns + 1,
        "plan": without_content(status.plan) if status.plan is not None else None,
    }
    raw = dict(status.model_extra or {})
    return TrainingRunStatus().model_copy(update=kept | raw)


def _steer_finished(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    course = _end_strays(snapshot, Course(status=status, standing=terminal_standing(status)), now)
    due = expiry(snapshot.run, status)
    if due is None or now < due or open_decisions(status, DecisionKind.CLEAN_UP) or not snapshot.own_jobs:
        return course
    if not snapshot.live:
        return replace(course, look_live=True)
    return replace(course, status=_record(course.status, DecisionKind.CLEAN_UP, reason=Reason.TTL_EXPIRED, now=now))


def _steer_idle(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    run, owner = snapshot.run, snapshot.owner
    strays = _strays(snapshot, status)
    if strays or snapshot.stray_pods:
        message = "pods of an earlier launch are ending"
        waiting = Standing(phase=Phase.PENDING, reason=Reason.WAITING_FOR_PODS, message=message)
        waiting = _refused(snapshot, waiting, *(job.name for job in strays))
        return _end_strays(snapshot, Course(status=status, standing=waiting), now)
    if run.spec.suspend or (owner is not None and (owner.suspended or owner.deleting)):
        reason = Reason.SUSPENDED if run.spec.suspend else Reason.OWNER_SUSPENDED
        message = SUSPENDED_WORDS if run.spec.suspend else OWNER_SUSPENDED_WORDS
        return Course(status=status, standing=Standing(phase=Phase.SUSPENDED, reason=reason, message=message))
    if backs_off(status, now):
        message = f"{status.quick_ends} launches in a row ended within a minute; the next one starts after a pause"
        return Course(status=status, standing=Standing(phase=Phase.PENDING, reason=Reason.BACK_OFF, message=message))
    if not snapshot.live:
        return Course(status=status, standing=Standing(phase=Phase.PENDING, reason=Reason.STARTING), look_live=True)
    if snapshot.earlier is not None and asks_for_earlier(run.model_copy(update={"status": status})):
        status = status.model_copy(update={"metrics": dict(snapshot.earlier.metrics)})
        return _end(status, taken_over(snapshot.earlier), now)
    return _launch(snapshot, status, now)


def _strays(snapshot: Snapshot, status: TrainingRunStatus) -> list[ObservedJob]:
    """Jobs that live although their launch is not, or not any more, the run's."""
    current = status.launch if _living(status) else None
    return [job for job in snapshot.own_jobs if not job.finished and job.launch != current]


def _end_strays(snapshot: Snapshot, course: Course, now: datetime) -> Course:
    """One living pod set per run, and none of a finished one; a leader that was deposed may have made another."""
    status = course.status
    ordered = {d.launch for d in open_decisions(status, DecisionKind.END_LAUNCH)}
    strays = [job for job in _strays(snapshot, status) if not job.deleting and job.launch not in ordered]
    if strays and not snapshot.live:
        return replace(course, look_live=True)
    for job in strays:
        status = _record(status, DecisionKind.END_LAUNCH, reason=Reason.SUPERSEDED, now=now, launch=job.launch)
    return replace(course, status=status)


def _launch(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    cause, number = _launch_cause(status), status.launch + 1
    try:
        plan = first_plan(snapshot.run, generation=_next_generation(snapshot, status))
    except ValidationError as error:
        return _finish(snapshot, status, ending=invalid_ending(snapshot.run, error), now=now)
    words = status.launch_end_message
    update = new_launch(number, now) | {"node_failures": remembered(status.node_failures, now)}
    if status.plan is None or awaits_plan(status):
        attempt = Attempt(number=plan.generation, cause=cause, start_time=now, launch=number)
        update |= {"plan": plan, "attempts": (*status.attempts, attempt)[-KEPT_ATTEMPTS:]}
    status = status.model_copy(update=update)
    shunned = avoided(status)
    words = "; ".join(part for part in (words, f"avoids {', '.join(shunned)}" if shunned else "") if part)
    status = _record(status, DecisionKind.LAUNCH, reason=cause, now=now, evidence=cut(words))
    return Course(status=status, standing=_living_standing(snapshot, status, job=None, ending=None, now=now))


def _next_generation(snapshot: Snapshot, status: TrainingRunStatus) -> int:
    """Higher than every plan before, even one that only its trainer still knows."""
    known = status.plan.generation if status.plan is not None else 0
    told = snapshot.trainer.generation if snapshot.trainer is not None else 0
    return max(known, told) + 1


def _launch_cause(status: TrainingRunStatus) -> str:
    """Why the next launch is opened."""
    if status.plan is not None and awaits_plan(status):
        return Reason.RERUN
    if status.plan is None and not status.launch:
        return Reason.FIRST_LAUNCH
    if status.launch_outcome in {Reason.SUSPEND_REQUESTED, Reason.OWNER_SUSPENDED}:
        return Reason.RESUMED
    return status.launch_outcome or Reason.DISRUPTED


def _record(
    status: TrainingRunStatus,
    kind: str,
    *,
    reason: str,
    now: datetime,
    launch: int | None = None,
    evidence: str = "",
) -> TrainingRunStatus:
    launch = status.launch if launch is None else launch
    generation = status.plan.generation if status.plan else 1
    decision = Decision(
        id=decision_id(status, kind=kind, launch=launch, generation=generation, now=now),
        kind=kind,
        reason=reason,
        state=DecisionState.RECORDED,
        time=now,
        launch=launch,
        generation=generation,
        observed_step=status.progress.step if status.progress else None,
        evidence=evidence,
    )
    return record(status, decision)
