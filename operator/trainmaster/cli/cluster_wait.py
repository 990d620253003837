"""`trainmaster wait` and `trainmaster logs`: until a run is there, and what it says on the way."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Final

import typer

from trainmaster.api.conditions import SUCCEEDED
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.cluster import (
    RESOURCE,
    ContextOption,
    KubeconfigOption,
    NameArgument,
    NamespaceOption,
    open_client,
)
from trainmaster.cli.output import OutputFormat, OutputOption, emit_objects, printable, stderr
from trainmaster.cli.runs_table import runs_table

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


class DurationError(TrainmasterError):
    """A text is no duration."""


def seconds_of(text: str) -> float:
    """`90`, `30s`, `1h30m` -> seconds. Raises DurationError."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        message = f"{text!r} is no duration: write seconds, or 30s, 10m, 1h30m, 2d"
        raise DurationError(message)
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def wait(
    name: NameArgument,
    *,
    until: Annotated[
        str,
        typer.Option(
            "--for",
            help="[b]ended[/], [b]succeeded[/], [b]failed[/], [b]running[/], [b]suspended[/], [b]deleted[/], "
            "[b]condition=TYPE[/] or [b]condition=TYPE=STATUS[/].",
        ),
    ] = "succeeded",
    timeout: Annotated[str, typer.Option(help="Seconds, or as in 30s, 1h30m; by default for ever.")] = "",
    output: OutputOption = OutputFormat.TABLE,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Wait until a run is there; phases on stderr, the run on stdout.

    Watches that are cut and an API server that is away are waited out. Only what is said of the spec as it is now
    counts: right after a rerun, the success of before is none.

    Exit codes: 0 it is there; 1 the run has ended otherwise; 3 not in time; 4 it is not there, or was deleted.

    [bold]Examples[/]

      trainmaster wait market --timeout 2h && trainmaster get market -o json

      trainmaster wait market --for condition=Ready
    """
    seconds = seconds_of(timeout) if timeout else None
    client = open_client(namespace, kubeconfig, context)
    if until == "deleted":
        client.wait_deleted(name, timeout=seconds)
        sys.stdout.write(f"{RESOURCE}/{name} is gone\n")
        return
    run = client.wait(name, until=until, timeout=seconds, on_change=_Teller().tell)
    emit_objects([run], output=output, table=runs_table)


class _Teller:
    """Says on stderr how a run stands, when that has changed."""

    def __init__(self) -> None:
        self._told = ""

    def tell(self, run: TrainingRun) -> None:
        condition = run.status.condition(SUCCEEDED)
        why = f": {condition.message}" if condition and condition.message else ""
        line = f"{run.metadata.name}: {run.status.phase or 'not looked at yet'}{why}"
        if line != self._told:
            self._told = line
            stderr().print(printable(line))


def logs(
    name: NameArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, launch after launch, until it ends.")] = False,
    launch: Annotated[int | None, typer.Option(min=1, help="Number of a launch; by default all.")] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="Of each pod, only so many earlier lines.")] = None,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Print what the launchers and training processes wrote, launch after launch.

    Lines go to stdout, remarks (which pod comes next) to stderr. With [b]-f[/] it goes on through lost pods, new
    launches and broken connections until the run has ended; each line comes once.

    [bold]Examples[/]

      trainmaster logs market

      trainmaster logs -f market --tail 20
    """
    client = open_client(namespace, kubeconfig, context)
    remark = lambda text: stderr().print(printable(f"==> {text}"), style="dim")  # noqa: E731 - too short for a name
    for line in client.logs(name, follow=follow, launch=launch, tail=tail, on_note=remark):
        sys.stdout.write(line.text + "\n")
        if follow:
            sys.stdout.flush()
