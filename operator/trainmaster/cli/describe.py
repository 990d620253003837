"""One run, told in full: for people who ask what happened and why."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from trainmaster.adapters.local.inspection import LocalView
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.output import add_row, plain_table, printable, stdout

EVENTS_SHOWN = 30


def describe_run(view: LocalView) -> None:
    """Print a run: where it stands, its plan, attempts, decisions, launches and events."""
    run, console = view.run, stdout()
    console.print(f"{run.metadata.key}  uid {run.metadata.uid}", style="bold")
    for name, value in _facts(view):
        console.print(f"  {name + ':':<14} {printable(value)}")
    for title, table in (
        ("Conditions", _conditions(run)),
        ("Metrics", _mapping(run.status.metrics)),
        ("Hyperparameters in force", _mapping(run.status.plan.hyperparameters if run.status.plan else {})),
        ("Attempts", _attempts(run)),
        ("Decisions", _decisions(run)),
        ("Launches", _launches(view)),
        ("Events", _events(view)),
    ):
        if table.row_count:
            console.print(f"\n{title}", style="bold")
            console.print(table)


def _facts(view: LocalView) -> Iterator[tuple[str, str]]:
    status = view.run.status
    unattended = " (unattended: nobody drives it; run it again to go on)" if view.unattended else ""
    yield "Phase", f"{status.phase or 'Pending'}{unattended}"
    yield "Workload", view.run.spec.workload
    if status.start_time:
        yield "Started", status.start_time.isoformat(timespec="seconds")
    if status.completion_time:
        yield "Ended", status.completion_time.isoformat(timespec="seconds")
    if status.progress:
        yield (
            "Progress",
            f"{status.progress.percent}%, step {status.progress.step} of {status.progress.total_steps or '?'}",
        )
    yield "Budgets", f"{status.crashes} crashes, {status.disruptions} disruptions, {status.heals} heals"
    for problem in status.health.problems if status.health else ():
        yield "Problem", problem
    if status.checkpoint:
        yield (
            "Checkpoint",
            f"{status.checkpoint.path}, step {status.checkpoint.step}, sha256 {status.checkpoint.sha256}",
        )
    if status.mlflow:
        yield "MLflow", f"experiment {status.mlflow.experiment_id}, run {status.mlflow.run_id}"


def _mapping(values: dict[str, str]) -> Table:
    table = plain_table("Name", "Value")
    for name, value in sorted(values.items()):
        add_row(table, name, value)
    return table


def _conditions(run: TrainingRun) -> Table:
    table = plain_table("Type", "Status", "Reason", "Since", "Message")
    for c in run.status.conditions:
        add_row(table, c.type, c.status, c.reason, c.last_transition_time.isoformat(timespec="seconds"), c.message)
    return table


def _attempts(run: TrainingRun) -> Table:
    table = plain_table("Attempt", "Cause", "From launch", "Corrections", "Outcome")
    for a in run.status.attempts:
        add_row(table, str(a.number), a.cause, str(a.launch), "; ".join(a.corrections), a.outcome or "")
    return table


def _decisions(run: TrainingRun) -> Table:
    table = plain_table("Time", "Decision", "Launch", "Reason", "State", "Target", "Evidence")
    for d in run.status.decisions:
        target = ", ".join(f"{name}={value}" for name, value in d.target.items())
        at = d.time.isoformat(timespec="seconds")
        state = d.state if d.applied_step is None else f"{d.state} at step {d.applied_step}"
        add_row(table, at, d.kind, str(d.launch), d.reason, state, target, d.evidence)
    return table


def _launches(view: LocalView) -> Table:
    table = plain_table("Launch", "Job", "Exit code", "Log")
    for job in view.jobs:
        ended = ("unknown" if job.exit_code is None else str(job.exit_code)) if job.ended else "running"
        add_row(table, str(job.launch), job.name, ended, str(job.log))
    return table


def _events(view: LocalView) -> Table:
    table = plain_table("Time", "Type", "Reason", "Message")
    for event in view.events[-EVENTS_SHOWN:]:
        add_row(table, event.time, event.type, event.reason, event.message)
    return table
