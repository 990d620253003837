"""The effects of committed decisions: only what status already held when it was read is acted on.

`decide` lets them out only from a live snapshot: a cache may lag behind a course that has changed since.
"""

from __future__ import annotations

from collections.abc import Iterable

from trainmaster.api.conditions import DecisionKind
from trainmaster.api.labels import job_name
from trainmaster.api.trainingrun import Decision, TrainingRunStatus
from trainmaster.core.journal import is_open
from trainmaster.core.plan import build_plan
from trainmaster.core.run.nodes import avoided
from trainmaster.core.snapshot import CreateJob, DeleteJob, Effect, ObservedJob, Snapshot, WriteRecord


def effects_of(snapshot: Snapshot, status: TrainingRunStatus) -> tuple[Effect, ...]:
    """Effects of the decisions that are open in the committed status and in the new one."""
    still_open = {d.id for d in status.decisions if is_open(d)}
    committed = [d for d in snapshot.run.status.decisions if is_open(d) and d.id in still_open]
    effects = [effect for decision in committed for effect in _effects(snapshot, status, decision)]
    # A record that cannot be written must not keep Jobs from being created or ended: it comes last.
    return tuple(sorted(effects, key=lambda effect: isinstance(effect, WriteRecord)))


def _effects(snapshot: Snapshot, status: TrainingRunStatus, decision: Decision) -> list[Effect]:
    match decision.kind:
        case DecisionKind.LAUNCH if decision.launch == status.launch == snapshot.run.status.launch:
            return _creation(snapshot, decision)
        case DecisionKind.END_LAUNCH:
            return _deletions(job for job in snapshot.own_jobs if job.launch == decision.launch)
        case DecisionKind.CLEAN_UP:
            return _deletions(job for job in snapshot.own_jobs if job.launch <= decision.launch)
        case DecisionKind.RECORD if decision.record is not None:
            return [WriteRecord(name=decision.record.name, record=decision.record, labels=decision.record.labels)]
        case _:
            return []


def _creation(snapshot: Snapshot, decision: Decision) -> list[Effect]:
    """The Job of a launch, once nothing of another one lives and nobody else has its name."""
    run = snapshot.run
    name = job_name(run.metadata.name, uid=run.metadata.uid, launch=decision.launch)
    others_live = snapshot.stray_pods or any(not job.finished for job in snapshot.own_jobs)
    if others_live or name in snapshot.foreign_names:
        return []
    return [CreateJob(name=name, plan=build_plan(run, run.status), avoided_nodes=avoided(run.status))]


def _deletions(jobs: Iterable[ObservedJob]) -> list[Effect]:
    return [DeleteJob(name=job.name, uid=job.uid) for job in jobs if not job.deleting]
