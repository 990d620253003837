"""`trainmaster local`: run and look at TrainingRuns on this machine, without a cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from trainmaster.adapters.local.inspection import LocalView, view_run, view_runs
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.adapters.manifests import load_manifests
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.describe import describe_run
from trainmaster.cli.exits import EXIT_REFUSED
from trainmaster.cli.output import OutputFormat, OutputOption, emit_objects, print_problems, stderr
from trainmaster.cli.runs_table import runs_table

app = typer.Typer(no_args_is_help=True, help="Run and look at TrainingRuns on this machine, without a cluster.")

DEFAULT_STATE_DIR = Path(".trainmaster")
FOLLOW_SECONDS = 0.2
"""Between two looks at a log that is followed."""


def complete_name(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of stored runs, for the shell's completion."""
    state = StateDir(Path(ctx.params.get("state_dir") or DEFAULT_STATE_DIR))
    return [view.run.metadata.name for view in view_runs(state) if view.run.metadata.name.startswith(incomplete)]


StateDirOption = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="TRAINMASTER_STATE_DIR",
        help="Where runs, checkpoints, logs and the MLflow database are.",
    ),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the run.")]
NameArgument = Annotated[str, typer.Argument(help="Name of a run.", autocompletion=complete_name)]
CpusOption = Annotated[
    int | None, typer.Option(min=1, help="Cores that runs share (all); a run waits while its own are taken.")
]
TrackingOption = Annotated[
    str | None, typer.Option(help="MLflow tracking server; by default a database in the state directory.")
]


@app.command()
def run(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Manifests of TrainingRuns; [b]-[/] is standard input.")
    ],
    *,
    output: OutputOption = OutputFormat.TABLE,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
    cpus: CpusOption = None,
    volume: Annotated[
        list[str] | None, typer.Option(metavar="CLAIM=FOLDER", help="The folder that stands for pvc://CLAIM.")
    ] = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Train what manifests ask for, and watch it.

    Progress goes to stderr, the final objects to stdout. However it is interrupted, the same command goes on from the
    last checkpoint; a finished run is not trained again (change spec.rerun for that).

    Exit codes: 0 succeeded or stopped early; 1 failed, or suspended by its manifest; 2 refused; 130 interrupted.

    [bold]Examples[/]

      trainmaster local run examples/market.yaml

      trainmaster local run examples/market.yaml -o json > run.json

      trainmaster local run mine.yaml --volume data=/home/me/bars
    """
    # Its imports (aiohttp, asyncio) would slow down every other command.
    from trainmaster.cli.local_run import drive, local_options  # noqa: PLC0415 - see above

    judgement = load_manifests(files)
    print_problems(judgement, stream=sys.stderr)
    if judgement.errors:
        raise typer.Exit(EXIT_REFUSED)
    options = local_options(state_dir=state_dir, cpus=cpus, volumes=volume or (), tracking_uri=tracking_uri)
    for note in local_notes([manifest.run for manifest in judgement.manifests]):
        stderr().print(note)
    driven = drive([manifest.run for manifest in judgement.manifests], options)
    emit_objects(driven.runs, output=output, table=runs_table)
    raise typer.Exit(driven.exit_code)


@app.command()
def get(
    name: Annotated[
        str | None, typer.Argument(help="Name of a run; without one, all.", autocompletion=complete_name)
    ] = None,
    *,
    namespace: NamespaceOption = "default",
    output: OutputOption = OutputFormat.TABLE,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Show the runs of the state directory."""
    state = StateDir(state_dir)
    every = view_runs(state)
    views = (
        (view_run(state, Key(namespace, name)),)
        if name
        else tuple(view for view in every if view.run.metadata.namespace == namespace)
    )
    if not views and output is OutputFormat.TABLE:
        typer.echo(f"No runs in {state.root}.", err=True)
        return
    emit_objects([view.run for view in views], output=output, table=lambda _: views_table(views), as_list=name is None)


@app.command()
def describe(
    name: NameArgument, *, namespace: NamespaceOption = "default", state_dir: StateDirOption = DEFAULT_STATE_DIR
) -> None:
    """Tell all that is known of one run: conditions, plan, attempts, decisions, launches, events."""
    describe_run(view_run(StateDir(state_dir), Key(namespace, name)))


@app.command()
def logs(
    name: NameArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    launch: Annotated[int | None, typer.Option(min=1, help="Number of a launch; by default the newest.")] = None,
    namespace: NamespaceOption = "default",
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Print what the launcher and the training process wrote."""
    state, key = StateDir(state_dir), Key(namespace, name)
    path, position = view_run(state, key).log(launch), 0
    while True:
        # Whether it ended is asked before reading: what was written before the end is then read for sure.
        view = view_run(state, key)
        position = _copy_from(path, position)
        newest = view.log(launch)
        if newest != path:
            path, position = newest, 0
        elif not follow or view.silent:
            return
        else:
            time.sleep(FOLLOW_SECONDS)


def _copy_from(path: Path, position: int) -> int:
    with path.open("rb") as file:
        file.seek(position)
        sys.stdout.buffer.write(file.read())
        sys.stdout.buffer.flush()
        return file.tell()


def views_table(views: Iterable[LocalView]) -> Table:
    """Stored runs; those that nobody drives are marked."""
    views = tuple(views)
    unattended = frozenset(view.run.metadata.uid for view in views if view.unattended)
    return runs_table([view.run for view in views], unattended=unattended)


def local_notes(runs: Iterable[TrainingRun]) -> list[str]:
    """What these runs ask for that means nothing, or something else, without a cluster."""
    notes = []
    for each in runs:
        if each.spec.scheduling_deadline_seconds is not None:
            notes.append(
                f"{each.metadata.name}: spec.schedulingDeadlineSeconds has no effect here: "
                "a process waits for cores only, and time in a queue does not count"
            )
        if each.spec.ttl_seconds_after_finished is not None:
            notes.append(
                f"{each.metadata.name}: spec.ttlSecondsAfterFinished takes effect when the run is run again here, "
                "and keeps the logs: nothing runs on this machine after the command has ended"
            )
    return notes
