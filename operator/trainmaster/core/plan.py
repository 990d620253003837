"""The plan of a launch, from spec and status alone: the same inputs give the same plan, whoever asks, however often."""

from __future__ import annotations

from trainmaster.api.hyperparameters import Scalar
from trainmaster.api.plan import Directive, HangLimits, Plan, StoragePlan
from trainmaster.api.presets import resolved
from trainmaster.api.problems import errors, refusal
from trainmaster.api.schedule_rules import schedule_problems
from trainmaster.api.trainingrun import PlannedDirective, PlanStatus, TrainingRun, TrainingRunStatus, spec_hash

RESTART_LEASE = 3
"""Restarts in place that a launcher may make before it hears from the operator again: enough for a bad hour while the
operator is away, few enough that a crash loop stops."""


def first_plan(run: TrainingRun, *, generation: int) -> PlanStatus:
    """The first plan of a rerun.

    Raises pydantic's ValidationError on hyperparameters, presets and schedules that do not fit.
    """
    values = _hyperparameters(run)
    found = schedule_problems(run.spec.workload, schedules=run.spec.parameter_schedules or (), hyperparameters=values)
    if problems := errors(found):
        raise refusal(problems)
    return PlanStatus(
        generation=generation,
        base_generation=generation,
        hyperparameters={name: scalar_string(value) for name, value in sorted(values.items())},
        base_hyperparameters=values,
        spec_hash=spec_hash(run),
    )


def without_content(plan: PlanStatus) -> PlanStatus:
    """What a rerun keeps of the last plan until it has one of its own: the generation, so that the next is higher.

    Its base generation lies ahead of its generation, as no plan's does.
    """
    empty = {
        "base_generation": plan.generation + 1,
        "hyperparameters": {},
        "base_hyperparameters": {},
        "directives": (),
        "spec_hash": "",
    }
    return plan.model_copy(update=empty)


def awaits_plan(status: TrainingRunStatus) -> bool:
    """Whether a rerun has begun whose first launch is not decided yet: what trainers tell is about the last one."""
    return status.plan is not None and status.plan.base_generation > status.plan.generation


def build_plan(run: TrainingRun, status: TrainingRunStatus) -> Plan:
    """The plan in force, as a launcher needs it. Status must hold a plan and a launch."""
    if status.plan is None:
        message = f"{run.metadata.key} has no plan yet; record the launch first"
        raise ValueError(message)
    spec, limits = run.spec, run.spec.hang_detection
    return Plan(
        run_uid=run.metadata.uid,
        namespace=run.metadata.namespace,
        name=run.metadata.name,
        launch=status.launch,
        generation=status.plan.generation,
        base_generation=status.plan.base_generation,
        workload=spec.workload,
        command=spec.command,
        hyperparameters=status.plan.base_hyperparameters or _hyperparameters(run),
        parameter_schedules=spec.parameter_schedules or (),
        directives=tuple(_directive(d) for d in status.plan.directives),
        data_source=spec.data.source if spec.data else None,
        feature_store_days=spec.data.feature_store_days if spec.data else None,
        env={variable.name: variable.value for variable in spec.env},
        storage=StoragePlan(
            root=f"{spec.storage.checkpoints}/{run.metadata.uid}/{status.reruns}",
            keep_last=spec.storage.keep_last,
            keep_best=spec.storage.keep_best,
            every_steps=spec.storage.every_steps,
        ),
        cpus=spec.resources.cpu,
        processes=spec.resources.processes,
        restart_lease=_restart_lease(run, status),
        hang_limits=HangLimits(
            starting=limits.starting_seconds,
            training=limits.training_seconds,
            validating=limits.validating_seconds,
            checkpointing=limits.checkpointing_seconds,
            testing=limits.testing_seconds,
        ),
        termination_grace_seconds=spec.termination_grace_period_seconds,
    )


def _hyperparameters(run: TrainingRun) -> dict[str, Scalar]:
    presets = {} if run.spec.presets is None else run.spec.presets.named()
    return resolved(run.spec.workload, presets=presets, given=run.spec.hyperparameters)


def _restart_lease(run: TrainingRun, status: TrainingRunStatus) -> int:
    """Restarts allowed by now in this launch: `RESTART_LEASE` more than it has had, within the crash budget."""
    left = max(0, run.spec.recovery.budgets.crashes - status.crashes)
    return status.launch_crashes + min(RESTART_LEASE, left)


def _directive(planned: PlannedDirective) -> Directive:
    return Directive(
        id=planned.id,
        generation=planned.generation,
        at_step=planned.at_step,
        set={name: _scalar(value) for name, value in planned.set.items()},
        reason=planned.reason,
    )


def _scalar(text: str) -> Scalar:
    """A target as the trainer takes it: numbers are what this version sets, a newer one may set words."""
    try:
        return float(text)
    except ValueError:
        return text


def scalar_string(value: Scalar) -> str:
    """A hyperparameter as status shows it; `repr` of a float is its shortest exact form."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)
