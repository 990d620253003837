"""`trainmaster demo`: real price bars, one manifest, the whole way to an honest verdict."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from shutil import which
from typing import Annotated

import typer

from trainmaster.adapters.local.objects import ObjectStore
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.adapters.manifests import load_manifests
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.local import DEFAULT_STATE_DIR, CpusOption, StateDirOption
from trainmaster.cli.output import MISSING, OutputFormat, OutputOption, add_row, emit_objects, plain_table, stdout
from trainmaster.cli.runs_table import runs_table

MANIFEST = "market.yaml"
SCORES = (
    ("accuracy", "test_accuracy", "prior_accuracy"),
    ("F1 (macro)", "test_f1", "prior_f1"),
    ("log-loss", "test_log_loss", "prior_log_loss"),
)


class DemoError(TrainmasterError):
    """The demo's own manifest cannot be used: a broken installation."""


def demo(
    *,
    again: Annotated[bool, typer.Option("--again", help="Train anew, though a finished run is there.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
    cpus: CpusOption = None,
) -> None:
    """Train the market classifier on a year of hourly EUR/USD bars, from a manifest.

    The same as [b]trainmaster local run examples/market.yaml[/], with an explanation of what came out. Interrupt it as
    you like: the same command goes on from the last checkpoint, and the result is the same, bit for bit.
    """
    from trainmaster.cli.local_run import drive, local_options  # noqa: PLC0415 - its imports are slow

    run = demo_run()
    stored = ObjectStore(StateDir(state_dir)).get(run.metadata.key)
    token = f"{datetime.now(UTC):%Y%m%d-%H%M%S}" if again else stored.spec.rerun if stored else ""
    run = run.model_copy(update={"spec": run.spec.model_copy(update={"rerun": token})})
    options = local_options(state_dir=state_dir, cpus=cpus)
    driven = drive([run], options)
    if output is OutputFormat.TABLE:
        _explain(driven.runs[0], options.state)
    else:
        emit_objects(driven.runs, output=output, table=runs_table)
    raise typer.Exit(driven.exit_code)


def demo_run() -> TrainingRun:
    """The run of the demo's manifest, which is also examples/market.yaml."""
    judgement = load_manifests([str(Path(str(files("trainmaster.cli") / MANIFEST)))])
    if judgement.errors or not judgement.manifests:
        message = f"{MANIFEST} in this installation is broken: {judgement.errors}; install Trainmaster again"
        raise DemoError(message)
    return judgement.manifests[0].run


def _explain(run: TrainingRun, state: StateDir) -> None:
    console, status = stdout(), run.status
    console.print(f"\n{run.metadata.name}: {status.phase}", style="bold")
    if "test_accuracy" in status.metrics:
        rows = status.metrics.get("test_rows", "?")
        console.print(f"\nOn {rows} test rows that training never saw, the newest of the year:\n")
        table = plain_table("", "model", "class prior")
        for name, ours, prior in SCORES:
            add_row(table, name, status.metrics.get(ours, MISSING), status.metrics.get(prior, MISSING))
        console.print(table)
        console.print(
            "\nThe class prior answers the same for every row. A lower log-loss than its means skill; hourly exchange\n"
            "rates hold little of it, and an accuracy above 0.55 here would be a leak, not a success."
        )
    if status.checkpoint is not None and status.plan is not None:
        claim = run.spec.storage.checkpoints.removeprefix("pvc://")
        path = state.volume(claim) / run.metadata.uid / str(status.reruns) / status.checkpoint.path
        console.print(f"\nCheckpoint   {path}")
    if status.mlflow is not None:
        console.print(
            f"MLflow       experiment {status.mlflow.experiment_id}, run {status.mlflow.run_id}; open it with"
        )
        console.print(f"             mlflow ui --backend-store-uri {state.mlflow_uri}")
    console.print(f"Details      trainmaster local describe {run.metadata.name} --state-dir {state.root}")
    console.print(f"Output       trainmaster local logs {run.metadata.name} --state-dir {state.root}")
    console.print(f"Train anew   trainmaster demo --again --state-dir {state.root}")
    if which("trainmaster") is None:
        folder = Path(sys.executable).parent
        console.print(f"\nThese commands are in {folder}; say first: . {folder}/activate")
