"""What should happen next to a run: the one place where its course changes.

A run has at most one living launch. `steer` first accounts for a launch that has ended, then ends a living one that
must end (suspension, rerun, deadline, a stray older one), and else opens the next one. Every change of course is a
decision in status; nothing is done here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from trainmaster.api.conditions import DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.trainingrun import Attempt, Decision, TrainingRunStatus
from trainmaster.core.run.absorb import current_job
from trainmaster.core.run.deadlines import exceeded, expiry, is_quick, not_before
from trainmaster.core.run.journal import KEPT_ATTEMPTS, close_attempt, decision_id, open_decisions, record, settle
from trainmaster.core.run.outcome import Ending, classify
from trainmaster.core.run.plan import first_plan
from trainmaster.core.run.standing import Standing, terminal_standing
from trainmaster.core.snapshot import ObservedJob, Snapshot

DEADLINES = frozenset({Reason.ACTIVE_DEADLINE_EXCEEDED, Reason.SCHEDULING_DEADLINE_EXCEEDED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """The new status, where the run stands, and whether a look at the server is needed to go on."""

    status: TrainingRunStatus
    standing: Standing
    look_live: bool = False


def steer(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    """The run's course from here."""
    if any(job.run_uid != snapshot.run.metadata.uid for job in snapshot.jobs):
        message = "a Job of another owner has the name that this launch needs; rename the run"
        return Course(
            status=status, standing=Standing(phase=Phase.PENDING, reason=Reason.NAME_CONFLICT, message=message)
        )
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
    return snapshot.run.spec.rerun != status.observed_rerun


# -- a launch that lives, as far as status knows ------------------------------------------------------------------


def _steer_living(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    job = current_job(snapshot, status)
    if job is not None and job.finished:
        return _account(snapshot, status, job=job, now=now)
    if job is None and not open_decisions(status, DecisionKind.LAUNCH):
        return _vanished(snapshot, status, now)
    reason = _why_end(snapshot, status, now)
    if reason is None or open_decisions(status, DecisionKind.END_LAUNCH):
        return Course(status=status, standing=_living_standing(job, ending=reason))
    if job is None:
        return _withdraw(snapshot, status, reason=reason, now=now)
    status = _record(status, DecisionKind.END_LAUNCH, reason=reason, now=now)
    return Course(status=status, standing=_living_standing(job, ending=reason))


def _why_end(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> str | None:
    run, owner = snapshot.run, snapshot.owner
    if _rerun_wanted(snapshot, status):
        return Reason.RERUN
    if run.spec.suspend:
        return Reason.SUSPEND_REQUESTED
    if owner is not None and (owner.suspended or owner.deleting):
        return Reason.OWNER_SUSPENDED
    return exceeded(run, status, now)


def _living_standing(job: ObservedJob | None, *, ending: str | None) -> Standing:
    if job is None or job.state in {"Pending", "Complete", "Failed"}:
        return Standing(
            phase=Phase.PENDING, reason=ending or Reason.STARTING, message="the launch's pod is not running yet"
        )
    if job.state == "Suspended":
        return Standing(phase=Phase.QUEUED, reason=ending or Reason.JOB_QUEUED, message="the Job waits in a queue")
    return Standing(phase=Phase.RUNNING, reason=ending or Reason.RUNNING, message="training")


def _vanished(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    """The launch's Job was there and is not seen now: a look at the server tells a stale cache from a deletion."""
    waiting = Standing(phase=Phase.PENDING, reason=Reason.WAITING_FOR_PODS, message="the last launch's pods are ending")
    if not snapshot.live:
        return Course(status=status, standing=waiting, look_live=True)
    if status.launch in snapshot.stray_pods:
        return Course(status=status, standing=waiting)
    ghost = ObservedJob(
        name="", uid="", run_uid=snapshot.run.metadata.uid, launch=status.launch, state="Failed", disrupted=True
    )
    return _account(snapshot, status, job=ghost, now=now)


def _withdraw(snapshot: Snapshot, status: TrainingRunStatus, *, reason: str, now: datetime) -> Course:
    """A launch that was recorded and is not wanted any more; its Job may exist already, only the server knows."""
    standing = Standing(phase=Phase.PENDING, reason=reason)
    if not snapshot.live:
        return Course(status=status, standing=standing, look_live=True)
    ids = frozenset(d.id for d in open_decisions(status, DecisionKind.LAUNCH))
    status = settle(status, ids=ids, state=DecisionState.VOID)
    return steer(snapshot, status.model_copy(update={"launch_outcome": reason, "launch_end_time": now}), now)


# -- a launch that has ended -----------------------------------------------------------------------------------------


def _account(snapshot: Snapshot, status: TrainingRunStatus, *, job: ObservedJob, now: datetime) -> Course:
    """Take the ending of a launch into status, once, and go on from there."""
    ending = classify(job, snapshot.trainer)
    ordered = _ordered_end(status)
    running = max(0, int((now - status.running_time).total_seconds())) if status.running_time else 0
    quick = is_quick(status, now) and ordered is None
    update: dict[str, object] = {
        "active_seconds": status.active_seconds + running,
        "launch_end_time": now,
        "launch_outcome": ending.reason,
        "quick_ends": status.quick_ends + 1 if quick else 0,
        "queued_since": None,
    }
    if ordered is not None and ending.kind in {"Disrupted", "Crashed"}:
        update["launch_outcome"] = ordered
        ending = _ordered_ending(ordered)
    status = status.model_copy(update=update | _charge(status, ending, job=job))
    return _after(snapshot, status, ending=ending, now=now)


def _ordered_end(status: TrainingRunStatus) -> str | None:
    """The reason for which we ended this launch ourselves, if we did."""
    ends = [d for d in status.decisions if d.kind == DecisionKind.END_LAUNCH and d.launch == status.launch]
    return ends[-1].reason if ends else None


def _ordered_ending(reason: str) -> Ending:
    if reason in DEADLINES:
        return Ending(kind="Failed", reason=reason, message="the run was ended at its deadline")
    return Ending(kind="Disrupted", reason=reason)


def _charge(status: TrainingRunStatus, ending: Ending, *, job: ObservedJob) -> dict[str, object]:
    """Who pays for an ending: the user's crash budget, the cluster, or nobody.

    A launcher that ends because its lease is used up has reported each of its crashes; one that died itself has not.
    """
    if ending.kind == "Disrupted" and ending.reason == Reason.DISRUPTED:
        return {"disruptions": status.disruptions + 1}
    if ending.kind == "Crashed" and job.message is None:
        return {"crashes": status.crashes + 1, "launch_crashes": status.launch_crashes + 1}
    return {}


def _after(snapshot: Snapshot, status: TrainingRunStatus, *, ending: Ending, now: datetime) -> Course:
    if ending.kind in {"Succeeded", "Failed", "Unknown"}:
        return _finish(status, ending, now)
    budget = snapshot.run.spec.recovery.budgets.crashes
    if ending.kind == "Crashed" and status.crashes > budget:
        message = f"{status.crashes} crashes, {budget} allowed; the last one: {ending.message}"
        exhausted = Ending(kind="Failed", reason=Reason.CRASH_BUDGET_EXHAUSTED, message=message)
        return _finish(status, exhausted, now)
    return steer(snapshot, status, now)


def _finish(status: TrainingRunStatus, ending: Ending, now: datetime) -> Course:
    open_ids = frozenset(d.id for d in open_decisions(status))
    status = settle(status, ids=open_ids, state=DecisionState.VOID)
    update = {
        "phase": ending.kind,
        "completion_time": now,
        "launch_outcome": ending.reason,
        "attempts": close_attempt(status.attempts, outcome=ending.reason),
    }
    standing = Standing(phase=ending.kind, reason=ending.reason, message=ending.message)
    return Course(status=status.model_copy(update=update), standing=standing)


# -- no launch lives --------------------------------------------------------------------------------------------------


def _start_rerun(snapshot: Snapshot, status: TrainingRunStatus) -> TrainingRunStatus:
    """A fresh series under the same object: counters and times start again, launches and generations go on."""
    fresh = TrainingRunStatus()
    kept: dict[str, object] = {
        "launch": status.launch,
        "launch_outcome": status.launch_outcome,
        "decisions": status.decisions,
        "attempts": status.attempts,
        "conditions": status.conditions,
        "observed_generation": status.observed_generation,
        "observed_rerun": snapshot.run.spec.rerun,
        "reruns": status.reruns + 1,
    }
    # The generation of the last plan is kept in a plan without content, so that the next one is higher.
    if status.plan is not None:
        empty = {"base_generation": status.plan.generation, "hyperparameters": {}, "directives": ()}
        kept["plan"] = status.plan.model_copy(update=empty)
    raw = dict(status.model_extra or {})
    return fresh.model_copy(update=kept | raw)


def _steer_finished(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    standing = terminal_standing(status)
    due = expiry(snapshot.run, status)
    if due is None or now < due or open_decisions(status, DecisionKind.CLEAN_UP) or not snapshot.jobs:
        return Course(status=status, standing=standing)
    status = _record(status, DecisionKind.CLEAN_UP, reason=Reason.TTL_EXPIRED, now=now)
    return Course(status=status, standing=standing)


def _steer_idle(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    run, owner = snapshot.run, snapshot.owner
    strays = [job for job in snapshot.jobs if not job.finished]
    if strays or snapshot.stray_pods:
        return _end_strays(status, strays, now)
    if run.spec.suspend or (owner is not None and (owner.suspended or owner.deleting)):
        reason = Reason.SUSPENDED if run.spec.suspend else Reason.OWNER_SUSPENDED
        return Course(status=status, standing=Standing(phase=Phase.SUSPENDED, reason=reason))
    due = not_before(status)
    if due is not None and now < due:
        message = f"{status.quick_ends} launches in a row ended within a minute; the next one starts after a pause"
        return Course(status=status, standing=Standing(phase=Phase.PENDING, reason=Reason.BACK_OFF, message=message))
    if not snapshot.live:
        return Course(status=status, standing=Standing(phase=Phase.PENDING, reason=Reason.STARTING), look_live=True)
    return _launch(snapshot, status, now)


def _end_strays(status: TrainingRunStatus, strays: list[ObservedJob], now: datetime) -> Course:
    """Jobs of other launches must be gone before a new one starts: one living pod set per run."""
    ordered = {d.launch for d in open_decisions(status, DecisionKind.END_LAUNCH)}
    for job in strays:
        if job.launch not in ordered and not job.deleting:
            status = _record(status, DecisionKind.END_LAUNCH, reason=Reason.SUPERSEDED, now=now, launch=job.launch)
    message = "pods of an earlier launch are ending"
    return Course(
        status=status, standing=Standing(phase=Phase.PENDING, reason=Reason.WAITING_FOR_PODS, message=message)
    )


def _launch(snapshot: Snapshot, status: TrainingRunStatus, now: datetime) -> Course:
    cause = _launch_cause(status)
    update: dict[str, object] = {
        "launch": status.launch + 1,
        "launch_time": now,
        "launch_outcome": None,
        "launch_crashes": 0,
        "running_time": None,
        "queued_seconds": 0,
        "queued_since": None,
    }
    if status.plan is None or not status.plan.hyperparameters:
        try:
            plan = first_plan(snapshot.run, generation=status.plan.generation + 1 if status.plan else 1)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            message = f"spec.hyperparameters.{where}: {problem['msg']}; got {problem['input']!r}"
            return _finish(status, Ending(kind="Failed", reason=Reason.INVALID_CONFIGURATION, message=message), now)
        attempt = Attempt(number=plan.generation, cause=cause, start_time=now, launch=status.launch + 1)
        update |= {"plan": plan, "attempts": (*status.attempts, attempt)[-KEPT_ATTEMPTS:]}
    status = _record(status.model_copy(update=update), DecisionKind.LAUNCH, reason=cause, now=now)
    return Course(status=status, standing=Standing(phase=Phase.PENDING, reason=Reason.STARTING))


def _launch_cause(status: TrainingRunStatus) -> str:
    """Why the next launch is opened."""
    if status.plan is None:
        return Reason.FIRST_LAUNCH
    if not status.plan.hyperparameters:
        return Reason.RERUN
    if status.launch_outcome in {Reason.SUSPEND_REQUESTED, Reason.OWNER_SUSPENDED}:
        return Reason.RESUMED
    return status.launch_outcome or Reason.DISRUPTED


def _record(
    status: TrainingRunStatus, kind: str, *, reason: str, now: datetime, launch: int | None = None
) -> TrainingRunStatus:
    launch = status.launch if launch is None else launch
    generation = status.plan.generation if status.plan else 1
    decision = Decision(
        id=decision_id(kind=kind, launch=launch, generation=generation, now=now),
        kind=kind,
        reason=reason,
        state=DecisionState.RECORDED,
        time=now,
        launch=launch,
        generation=generation,
        observed_step=status.progress.step if status.progress else None,
    )
    return record(status, decision)
