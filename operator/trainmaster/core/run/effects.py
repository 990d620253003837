"""The effects of committed decisions: only what status already held when it was read is acted on."""

from __future__ import annotations

from trainmaster.api.conditions import DecisionKind
from trainmaster.api.labels import job_name
from trainmaster.api.trainingrun import Decision, TrainingRunStatus
from trainmaster.core.run.journal import is_open
from trainmaster.core.run.plan import build_plan
from trainmaster.core.snapshot import CreateJob, DeleteJob, Effect, Snapshot


def effects_of(snapshot: Snapshot, status: TrainingRunStatus) -> tuple[Effect, ...]:
    """Effects of the decisions that are open in the committed status and in the new one."""
    still_open = {d.id for d in status.decisions if is_open(d)}
    committed = [d for d in snapshot.run.status.decisions if is_open(d) and d.id in still_open]
    return tuple(effect for decision in committed for effect in _effects(snapshot, decision))


def _effects(snapshot: Snapshot, decision: Decision) -> list[Effect]:
    committed = snapshot.run.status
    match decision.kind:
        case DecisionKind.LAUNCH if decision.launch == committed.launch:
            if any(job.launch == decision.launch for job in snapshot.jobs):
                return []
            name = job_name(snapshot.run.metadata.name, uid=snapshot.run.metadata.uid, launch=decision.launch)
            return [CreateJob(name=name, plan=build_plan(snapshot.run, committed))]
        case DecisionKind.END_LAUNCH:
            return [
                DeleteJob(name=job.name, uid=job.uid)
                for job in snapshot.jobs
                if job.launch == decision.launch and not job.deleting
            ]
        case DecisionKind.CLEAN_UP:
            return [DeleteJob(name=job.name, uid=job.uid) for job in snapshot.jobs if not job.deleting]
        case _:
            return []
