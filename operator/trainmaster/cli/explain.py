"""`trainmaster explain`: hyperparameters and presets, with what they do and why they are what they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trainmaster.api.catalogue import Hyperparameter, hyperparameters_of, presets_of
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.hyperparameters import ALIASES, CATALOGUE
from trainmaster.api.wording import fold, nearest
from trainmaster.cli.output import OutputFormat, OutputOption, add_row, print_data, printable, stdout

MARKET: Final = "market-classifier"
TABLE_WIDTH: Final = 240
"""Columns from which six columns of text are a table and not a heap of broken words; pipes have them."""

app = typer.Typer(no_args_is_help=True, help="Explain hyperparameters and presets, without a cluster.")

WorkloadOption = Annotated[str, typer.Option("--workload", metavar="NAME", help="Workload whose names they are.")]


class UnknownNameError(TrainmasterError):
    """Nothing of this name can be explained; the message names the nearest one."""


@app.command("hyperparameters")
def hyperparameters(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, in any spelling.")] = None,
    *,
    workload: WorkloadOption = MARKET,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Explain each hyperparameter: type, default, range, effect, and the reason for the default.

    [bold]Examples[/]

      trainmaster explain hyperparameters

      trainmaster explain hyperparameters focal_gamma

      trainmaster explain hyperparameters -o json
    """
    known = hyperparameters_of(_workload(workload))
    shown = known if name is None else (_found(name, known=known, workload=workload),)
    if output is not OutputFormat.TABLE:
        data = [each.to_data() for each in shown]
        print_data(data if name is None else data[0], output=output)
    elif name is not None:
        _print_facts(_facts(shown[0]))
    elif not known:
        stdout().print(f"{workload} takes any name: the program of spec.command finds them in its plan.")
    elif stdout().width >= TABLE_WIDTH:
        _print_table(shown)
    else:
        _print_paragraphs(shown)


@app.command("presets")
def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, in any spelling.")] = None,
    *,
    workload: WorkloadOption = MARKET,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Explain each preset: for whom, what it costs, and why each of its values is what it is.

    [bold]Examples[/]

      trainmaster explain presets

      trainmaster explain presets production-small -o yaml
    """
    known = [preset for _, preset in presets_of(_workload(workload))]
    shown = known if name is None else [preset for preset in known if fold(preset["name"]) == fold(name)]
    if name is not None and not shown:
        names = {preset["name"] for preset in known}
        raise UnknownNameError(_unknown("preset", name, known=names, workload=workload))
    if output is not OutputFormat.TABLE:
        print_data(shown, output=output)
    elif not known:
        stdout().print(f"{workload} has no presets.")
    else:
        for number, preset in enumerate(shown):
            _print_preset(preset, first=number == 0)


def _workload(name: str) -> str:
    if name not in CATALOGUE:
        near = nearest(name, CATALOGUE)
        way_out = f"did you mean {near}?" if near else f"there are {', '.join(CATALOGUE)}"
        message = f"there is no workload {name}; {way_out}"
        raise UnknownNameError(message)
    return name


def _found(name: str, *, known: Sequence[Hyperparameter], workload: str) -> Hyperparameter:
    """The hyperparameter of a name; case, `_` and `-` do not count. Raises UnknownNameError."""
    meant = next((one for other, one in ALIASES[workload].items() if fold(other) == fold(name)), name)
    found = next((each for each in known if fold(each.name) == fold(meant)), None)
    if found is None:
        names = {each.name for each in known}
        raise UnknownNameError(_unknown("hyperparameter", name, known=names, workload=workload))
    return found


def _unknown(what: str, name: str, *, known: set[str], workload: str) -> str:
    near = nearest(name, known)
    way_out = f"did you mean {near}?" if near else f"trainmaster explain {what}s lists them"
    return f"{workload} has no {what} {name}; {way_out}"


def _facts(one: Hyperparameter) -> list[tuple[str, str]]:
    facts = [
        ("Name", ", ".join((one.name, *one.other_names))),
        ("Type", one.kind),
        ("Default", json.dumps(one.default)),
        ("Range", one.range),
        ("Effect", one.effect),
        ("Reason", one.reason),
    ]
    if one.schedulable:
        facts.append(("Moves", "spec.parameterSchedules may move it over the training."))
    if one.correctable:
        facts.append(("Corrected", "Trainmaster may correct it while the process lives."))
    return facts


def _print_facts(facts: Sequence[tuple[str, str]]) -> None:
    console = stdout()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        add_row(table, f"{name}:", value)
    console.print(table, soft_wrap=False)


def _print_table(shown: Sequence[Hyperparameter]) -> None:
    table = _wrapping_table("Name", "Type", "Default", "Range", "Effect", "Reason", fixed=3)
    for each in shown:
        add_row(table, each.name, each.kind, json.dumps(each.default), each.range, each.effect, each.reason)
    stdout().print(table, soft_wrap=False)


def _print_paragraphs(shown: Sequence[Hyperparameter]) -> None:
    console = stdout()
    for number, each in enumerate(shown):
        console.print(f"{chr(10) if number else ''}{each.name}", style="bold", end="")
        console.print(f"  {each.kind}, {json.dumps(each.default)}" + (f" ({each.range})" if each.range else ""))
        for text in (each.effect, each.reason):
            console.print(Padding(Text(printable(text)), (0, 0, 0, 4), expand=False), soft_wrap=False)


def _print_preset(preset: dict[str, Any], *, first: bool) -> None:
    console = stdout()
    console.print(f"{'' if first else chr(10)}{preset['part']}: {preset['name']}", style="bold")
    words = Text(printable(f"{preset['purpose']} {preset['cost']}"))
    console.print(Padding(words, (0, 0, 0, 2), expand=False), soft_wrap=False)
    table = _wrapping_table("  Name", "Value", "Reason", fixed=2)
    for name, choice in preset["hyperparameters"].items():
        add_row(table, f"  {name}", json.dumps(choice["value"]), choice["reason"])
    console.print(table, soft_wrap=False)


def _wrapping_table(*columns: str, fixed: int) -> Table:
    """As `plain_table`, but text after the first columns is broken at the edge of a terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column.upper(), no_wrap=number < fixed, overflow="fold")
    return table
