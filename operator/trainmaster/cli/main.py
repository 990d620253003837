"""The program `trainmaster`: its commands, and what becomes of an error that nobody caught."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from trainmaster import __version__
from trainmaster.api.errors import TrainmasterError
from trainmaster.cli.cluster_change import delete, rerun, resume, submit, suspend
from trainmaster.cli.cluster_get import describe, get
from trainmaster.cli.cluster_wait import logs, wait
from trainmaster.cli.crds import crds
from trainmaster.cli.demo import demo
from trainmaster.cli.exits import EXIT_INTERRUPTED
from trainmaster.cli.explain import app as explain_app
from trainmaster.cli.failures import exit_code_of
from trainmaster.cli.local import app as local_app
from trainmaster.cli.operator import operator
from trainmaster.cli.output import printable, stderr
from trainmaster.cli.selftest import selftest
from trainmaster.cli.status import status
from trainmaster.cli.validate import validate

app = typer.Typer(
    name="trainmaster",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Tab completion: [b]trainmaster --install-completion[/]. Exit codes: 0 well, 1 a run failed, "
    "2 refused, 3 not in time, 4 no such run (any more), 5 no API server, 130 interrupted.",
)


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if value:
        typer.echo(f"trainmaster {__version__}")
        raise typer.Exit


@app.callback()
def trainmaster(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train PyTorch models from manifests, and keep the training healthy.

    [bold]Begin here[/]

      trainmaster demo                               train on real price bars, here and now

      trainmaster validate examples/market.yaml      judge a manifest

      trainmaster explain hyperparameters            what they do, and why they are what they are

      trainmaster local run examples/market.yaml     train what it asks for, on this machine

      trainmaster crds | kubectl apply --server-side -f -  prepare a cluster

      trainmaster submit examples/custom.yaml        train in a cluster
    """


# Commands. One that needs MLflow, aiohttp or torch imports them in its own body: `--help` must stay quick.
app.command("validate", rich_help_panel="Manifests")(validate)
app.command("crds", rich_help_panel="Manifests")(crds)
app.add_typer(explain_app, name="explain", rich_help_panel="Manifests")
app.add_typer(local_app, name="local", rich_help_panel="Training")
app.command("demo", rich_help_panel="Training")(demo)
app.command("operator", rich_help_panel="Training")(operator)
for _command in (submit, get, describe, wait, logs, suspend, resume, rerun, delete):
    app.command(_command.__name__, rich_help_panel="Runs in a cluster")(_command)
app.command("selftest", rich_help_panel="This installation")(selftest)
app.command("status", rich_help_panel="This installation")(status)


def main() -> None:
    """Runs the program; errors that a person can mend end it with one line and an exit code of `exits`."""
    try:
        app()
    except TrainmasterError as error:
        lines = "\n".join(printable(line) for line in str(error).split("\n"))
        stderr().print(f"error: {lines}", style="bold red")
        sys.exit(exit_code_of(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
