"""One run, told in full: for people who ask what happened and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from rich.table import Table

from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.output import add_row, plain_table, printable, stdout

EVENTS_SHOWN = 30


class ShownLaunch(Protocol):
    """One Job of a run."""

    @property
    def launch(self) -> int: ...  # noqa: D102 - its name says it
    @property
    def name(self) -> str: ...  # noqa: D102 - its name says it
    @property
    def ended(self) -> bool: ...  # noqa: D102 - its name says it
    @property
    def exit_code(self) -> int | None: ...  # noqa: D102 - its name says it
    @property
    def log(self) -> object:
        """Where it is, or how to read it."""


class ShownEvent(Protocol):
    """One thing that was told of a run."""

    @property
    def time(self) -> str: ...  # noqa: D102 - its name says it
    @property
    def type(self) -> str: ...  # noqa: D102 - its name says it
    @property
    def reason(self) -> str: ...  # noqa: D102 - its name says it
    @property
    def message(self) -> str: ...  # noqa: D102 - its name says it


class ShownRun(Protocol):
    """One run and what lies around it, on this machine or in a cluster."""

    @property
    def run(self) -> TrainingRun: ...  # noqa: D102 - its name says it
    @property
    def jobs(self) -> Sequence[ShownLaunch]: ...  # noqa: D102 - its name says it
    @property
    def events(self) -> Sequence[ShownEvent]: ...  # noqa: D102 - its name says it
    @property
    def unattended(self) -> bool:
        """Whether it is under way by its status, but nobody drives it."""


def describe_run(view: ShownRun) -> None:
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


def _facts(view: ShownRun) -> Iterator[tuple[str, str]]:
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


def _launches(view: ShownRun) -> Table:
    table = plain_table("Launch", "Job", "Exit code", "Log")
    for job in view.jobs:
        ended = ("unknown" if job.exit_code is None else str(job.exit_code)) if job.ended else "running"
        add_row(table, str(job.launch), job.name, ended, str(job.log))
    return table


def _events(view: ShownRun) -> Table:
    table = plain_table("Time", "Type", "Reason", "Message")
    for event in view.events[-EVENTS_SHOWN:]:
        add_row(table, event.time, event.type, event.reason, event.message)
    return table
