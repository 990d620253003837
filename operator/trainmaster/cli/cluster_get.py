"""`trainmaster get` and `trainmaster describe`: runs in a cluster, as local runs look."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.cluster import (
    RESOURCE,
    ContextOption,
    KubeconfigOption,
    NameArgument,
    NamespaceOption,
    complete_run,
    open_client,
)
from trainmaster.cli.describe import describe_run
from trainmaster.cli.output import OutputFormat, add_row, emit_objects, plain_table, stderr, stdout, to_yaml
from trainmaster.cli.runs_table import column_names, run_cells, runs_table

if TYPE_CHECKING:
    from trainmaster.client import Client, Launch, RunEvent


class GetFormat(StrEnum):
    """How to print runs."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterView:
    """One run and what lies around it, as `describe` wants it."""

    run: TrainingRun
    jobs: Sequence[Launch]
    events: Sequence[RunEvent]
    unattended: bool = False


def get(  # noqa: PLR0913 - each is an option
    name: Annotated[
        str | None, typer.Argument(help="Name of a run; without one, all.", autocompletion=complete_run)
    ] = None,
    *,
    namespace: NamespaceOption = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    labels: Annotated[str, typer.Option("--selector", "-l", help="Labels, as in team=a,tier!=test.")] = "",
    output: Annotated[GetFormat, typer.Option("--output", "-o", help="How to print.")] = GetFormat.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and print what changes.")] = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Show the runs of a cluster.

    [bold]Examples[/]

      trainmaster get -A -o wide

      trainmaster get market -w

      trainmaster get -l team=a -o name
    """
    client = open_client(namespace, kubeconfig, context)
    if name is not None:
        runs: Sequence[TrainingRun] = (client.get(name),)
    else:
        runs = client.list(all_namespaces=all_namespaces, labels=labels)
    if not runs and not watch and output in {GetFormat.TABLE, GetFormat.WIDE}:
        where = "any namespace" if all_namespaces else f"namespace {client.namespace}"
        stderr().print(f"No runs in {where}.")
        return
    printer = _Printer(output, namespaces=all_namespaces)
    if not watch:
        printer.all(runs, single=name is not None)
        return
    printer.begin(runs)
    _watch(client, printer, name=name, labels=labels, everywhere=all_namespaces, shown=runs)


def _watch(
    client: Client,
    printer: _Printer,
    *,
    name: str | None,
    labels: str,
    everywhere: bool,
    shown: Sequence[TrainingRun],
) -> None:
    known = {run.metadata.uid: run.metadata.resource_version for run in shown}
    for change in client.watch(all_namespaces=everywhere, labels=labels):
        meta = change.run.metadata
        if name in {None, meta.name} and (change.gone or known.get(meta.uid) != meta.resource_version):
            printer.one(change.run, gone=change.gone)


class _Printer:
    """Prints runs in one format; a table whose rows come later keeps the widths of its beginning."""

    def __init__(self, output: GetFormat, *, namespaces: bool) -> None:
        self._output = output
        self._wide = output is GetFormat.WIDE
        self._namespaces = namespaces
        self._widths: list[int] = []

    def all(self, runs: Sequence[TrainingRun], *, single: bool) -> None:
        """All at once."""
        if self._output is GetFormat.NAME:
            for run in runs:
                self.one(run)
            return
        output = OutputFormat.TABLE if self._wide else OutputFormat(self._output)
        table = lambda _: runs_table(runs, wide=self._wide, namespaces=self._namespaces)  # noqa: E731 - too short for a name
        emit_objects(runs, output=output, table=table, as_list=not single)

    def begin(self, runs: Sequence[TrainingRun]) -> None:
        """The first ones of many."""
        if self._output not in {GetFormat.TABLE, GetFormat.WIDE}:
            for run in runs:
                self.one(run)
            return
        headings = column_names(wide=self._wide, namespaces=self._namespaces)
        rows = [headings, *(self._cells(run) for run in runs)]
        self._widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]
        stdout().print(runs_table(runs, wide=self._wide, namespaces=self._namespaces))

    def one(self, run: TrainingRun, *, gone: bool = False) -> None:
        """One that has come or changed; in a table, a deleted one is marked."""
        if self._output is GetFormat.NAME:
            sys.stdout.write(f"{RESOURCE}/{run.metadata.name}\n")
        elif self._output is GetFormat.JSON:
            sys.stdout.write(json.dumps(run.to_wire()) + "\n")
        elif self._output is GetFormat.YAML:
            sys.stdout.write(f"---\n{to_yaml(run.to_wire())}")
        else:
            self._row(run, gone=gone)
        sys.stdout.flush()

    def _row(self, run: TrainingRun, *, gone: bool) -> None:
        table = plain_table(*column_names(wide=self._wide, namespaces=self._namespaces))
        table.show_header = False
        for column, width in zip(table.columns, self._widths, strict=True):
            column.min_width = width
        cells = list(self._cells(run))
        if gone:
            cells[column_names(wide=self._wide, namespaces=self._namespaces).index("phase")] = "(deleted)"
        add_row(table, *cells)
        stdout().print(table)

    def _cells(self, run: TrainingRun) -> Sequence[str]:
        return run_cells(run, wide=self._wide, namespaces=self._namespaces)


def describe(
    name: NameArgument,
    *,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Tell all that is known of one run: conditions, plan, attempts, decisions, launches, events.

    [bold]Example[/]

      trainmaster describe market -n team-a
    """
    client = open_client(namespace, kubeconfig, context)
    run = client.get(name)
    describe_run(ClusterView(run=run, jobs=client.launches(run), events=client.events(run)))
