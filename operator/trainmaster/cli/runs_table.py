"""Runs as a table: one look for both modes, on this machine and in a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.table import Table

from trainmaster.api.conditions import SUCCEEDED, Phase
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.output import MISSING, add_row, plain_table
from trainmaster.cli.progress import clock

COLUMNS = ("name", "phase", "progress", "loss", "health", "attempt", "launch", "age")
"""The printer columns of the CRD, and the launch."""
WIDE_COLUMNS = (*COLUMNS, "workload", "message")


def runs_table(
    runs: Iterable[TrainingRun],
    *,
    unattended: frozenset[str] = frozenset(),
    wide: bool = False,
    namespaces: bool = False,
) -> Table:
    """Runs, one a row; `unattended` are UIDs of those that nobody drives, `namespaces` puts theirs in front."""
    table = plain_table(*column_names(wide=wide, namespaces=namespaces))
    for each in runs:
        cells = run_cells(each, wide=wide, namespaces=namespaces, unattended=each.metadata.uid in unattended)
        add_row(table, *cells)
    return table


def column_names(*, wide: bool, namespaces: bool) -> tuple[str, ...]:
    """The headings."""
    return (*(("namespace",) if namespaces else ()), *(WIDE_COLUMNS if wide else COLUMNS))


def run_cells(run: TrainingRun, *, wide: bool, namespaces: bool, unattended: bool = False) -> Sequence[str]:
    """One run's cells."""
    status, created = run.status, run.metadata.creation_timestamp
    problems = status.health.problems if status.health else ()
    cells = [
        run.metadata.name,
        (status.phase or Phase.PENDING) + (" (unattended)" if unattended else ""),
        f"{status.progress.percent}%" if status.progress else MISSING,
        status.metrics.get("val_loss", MISSING),
        ", ".join(problem.partition(":")[0] for problem in problems) or MISSING,
        str(status.plan.generation) if status.plan else MISSING,
        str(status.launch or MISSING),
        clock((datetime.now(UTC) - created).total_seconds()) if created else MISSING,
    ]
    if wide:
        succeeded = status.condition(SUCCEEDED)
        cells += [run.spec.workload, (succeeded.message if succeeded is not None else "") or MISSING]
    return [run.metadata.namespace, *cells] if namespaces else cells
