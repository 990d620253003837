"""What all commands print with: tables for people, JSON or YAML for programs, problems like a compiler's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, TextIO

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainmaster.adapters.manifests import Judgement
from trainmaster.api.problems import Problem
from trainmaster.api.trainingrun import TrainingRun

SOURCE_WIDTH: Final = 160
"""Characters of a source line that are shown; JSON on one line can be endless."""
UNLIMITED_WIDTH: Final = 10_000
"""Columns of what is no terminal: a pipe or a file gets every table whole."""
MISSING: Final = "-"
"""What a table shows where nothing is known."""


class OutputFormat(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[
    OutputFormat, typer.Option("--output", "-o", help="[b]table[/] for people; [b]json[/] or [b]yaml[/] for programs.")
]


def stdout() -> Console:
    """Standard output; colours only on a terminal, text as it is, lines never broken."""
    return console(sys.stdout)


def stderr() -> Console:
    """Standard error, for messages."""
    return console(sys.stderr)


def console(stream: TextIO) -> Console:
    """A console that prints text as it is: no markup, no emoji, no colour where there is no terminal."""
    width = None if stream.isatty() else UNLIMITED_WIDTH
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)


def print_data(data: object, *, output: OutputFormat) -> None:
    """Prints JSON-ready data as JSON or YAML: the same bytes for the same data."""
    sys.stdout.write(to_yaml(data) if output is OutputFormat.YAML else json.dumps(data, indent=2) + "\n")


def emit_objects(
    runs: Sequence[TrainingRun],
    *,
    output: OutputFormat,
    table: Callable[[Sequence[TrainingRun]], Table],
    as_list: bool = False,
) -> None:
    """Prints objects to standard output: one as itself, several (or `as_list`) as a List, as kubectl does."""
    if output is OutputFormat.TABLE:
        stdout().print(table(runs))
        return
    items = [run.to_wire() for run in runs]
    single = len(items) == 1 and not as_list
    print_data(items[0] if single else {"apiVersion": "v1", "kind": "List", "items": items}, output=output)


def plain_table(*columns: str) -> Table:
    """An empty table as kubectl prints them: upper-case headings, no lines, two spaces between columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.upper(), no_wrap=True)
    return table


def add_row(table: Table, *cells: object) -> None:
    """Adds one row; control characters in it are escaped."""
    table.add_row(*(Text(printable(str(cell))) for cell in cells))


def print_problems(judgement: Judgement, *, stream: TextIO) -> None:
    """Prints each problem of some manifests with the line it is about and a caret below its column."""
    target = console(stream)
    for problem in judgement.problems:
        target.print(_describe(problem))
        for line in _excerpt(problem, source=judgement.source_line(problem)):
            target.print(Text(line, style="dim"))


def _describe(problem: Problem) -> Text:
    place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    severity = ("", "") if problem.is_error else ("warning: ", "bold yellow")
    return Text.assemble((f"{printable(place)}: ", "bold"), severity, printable(str(problem)))


def _excerpt(problem: Problem, *, source: str) -> Iterable[str]:
    if not source.strip() or problem.column > SOURCE_WIDTH:
        return ()
    number = str(problem.line)
    line = "".join(letter if letter.isprintable() else " " for letter in source[:SOURCE_WIDTH])
    return (f" {number} | {line}", f" {' ' * len(number)} | {' ' * (problem.column - 1)}^")


class _PlainDumper(yaml.SafeDumper):
    """Writes values out each time instead of `&id001` and `*id001`."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - the signature is PyYAML's
        return True


def to_yaml(data: object) -> str:
    """YAML with names in the order of the data."""
    return str(yaml.dump(data, Dumper=_PlainDumper, sort_keys=False, width=120))


def printable(text: str) -> str:
    """The text with control characters escaped: a file must not speak to the terminal that shows it."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
