"""Whether to correct, and what: the recovery policy of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from trainmaster.api.conditions import DecisionKind, DecisionState
from trainmaster.api.trainingrun import (
    Attempt,
    Decision,
    Health,
    PlannedDirective,
    PlanStatus,
    TrainingRun,
    TrainingRunStatus,
)
from trainmaster.core.health import Finding, examine
from trainmaster.core.journal import KEPT_ATTEMPTS, close_attempt, decision_id, open_decisions, record
from trainmaster.core.plan import awaits_plan, scalar_string
from trainmaster.core.recovery.corrections import Correction, corrections_for
from trainmaster.core.series import Point


@dataclass(frozen=True, kw_only=True, slots=True)
class Correctable:
    """A finding and what would be done about it."""

    finding: Finding
    corrections: tuple[Correction, ...]


def heal(run: TrainingRun, status: TrainingRunStatus, *, points: Sequence[Point], now: datetime) -> TrainingRunStatus:
    """Status with the findings, and with a decision when one of them calls for a correction.

    Only points that the plan in force produced are judged: what was corrected is not held against it. One correction
    is in flight at a time; in mode Observe it is written down as what would have been done, once per plan.
    """
    plan = status.plan
    if run.spec.recovery.mode == "Off" or plan is None or awaits_plan(status):
        return status
    findings = examine([p for p in points if p.generation == plan.generation and p.kind != "test"])
    problems = tuple(f"{f.problem} ({f.severity}): {f.evidence}" for f in findings)
    health = (status.health or Health()).model_copy(update={"problems": problems})
    status = status.model_copy(update={"health": health})
    wanted = _first_correctable(run, plan, findings)
    if wanted is None or open_decisions(status, DecisionKind.ADJUST):
        return status
    if run.spec.recovery.mode == "Observe":
        return _observe(status, plan, wanted=wanted, now=now)
    if status.heals >= run.spec.recovery.budgets.heals:
        return status
    return _open_attempt(status, plan, wanted=wanted, now=now)


def _first_correctable(run: TrainingRun, plan: PlanStatus, findings: Sequence[Finding]) -> Correctable | None:
    for finding in findings:
        corrections = corrections_for(
            finding, workload=run.spec.workload, given=run.spec.hyperparameters, current=plan.hyperparameters
        )
        if corrections:
            return Correctable(finding=finding, corrections=corrections)
    return None


def _decision(
    status: TrainingRunStatus, *, generation: int, wanted: Correctable, state: str, now: datetime
) -> Decision:
    return Decision(
        id=decision_id(status, kind=DecisionKind.ADJUST, launch=status.launch, generation=generation, now=now),
        kind=DecisionKind.ADJUST,
        reason=wanted.finding.reason,
        state=state,
        time=now,
        launch=status.launch,
        generation=generation,
        observed_step=wanted.finding.step,
        evidence=wanted.finding.evidence,
        target={c.parameter: scalar_string(c.new) for c in wanted.corrections},
    )


def _observe(status: TrainingRunStatus, plan: PlanStatus, *, wanted: Correctable, now: datetime) -> TrainingRunStatus:
    seen = any(d.state == DecisionState.OBSERVED and d.generation == plan.generation for d in status.decisions)
    if seen:
        return status
    decision = _decision(status, generation=plan.generation, wanted=wanted, state=DecisionState.OBSERVED, now=now)
    return record(status, decision)


def _open_attempt(
    status: TrainingRunStatus, plan: PlanStatus, *, wanted: Correctable, now: datetime
) -> TrainingRunStatus:
    generation = plan.generation + 1
    decision = _decision(status, generation=generation, wanted=wanted, state=DecisionState.RECORDED, now=now)
    directive = PlannedDirective(
        id=decision.id, generation=generation, reason=decision.reason, set=dict(decision.target)
    )
    new_plan = plan.model_copy(
        update={
            "generation": generation,
            "hyperparameters": {**plan.hyperparameters, **decision.target},
            "directives": (*plan.directives, directive),
        }
    )
    attempt = Attempt(
        number=generation,
        cause=decision.reason,
        start_time=now,
        launch=status.launch,
        corrections=tuple(str(c) for c in wanted.corrections),
    )
    attempts = close_attempt(status.attempts, outcome="Corrected")
    update = {
        "plan": new_plan,
        "heals": status.heals + 1,
        "attempts": (*attempts, attempt)[-KEPT_ATTEMPTS:],
    }
    return record(status.model_copy(update=update), decision)
