"""What the commands about a cluster share: how it is found, and the names that the shell completes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from trainmaster.api.errors import TrainmasterError

if TYPE_CHECKING:
    from trainmaster.client import Client

RESOURCE: Final = "trainingrun.trainmaster.io"
"""How kubectl names what it has done something to."""
COMPLETION_SECONDS: Final = 2.0
"""A shell that hangs after Tab is worse than one that knows no names."""

NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace; by default the context's.", rich_help_panel="Cluster"),
]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option(help="By default $KUBECONFIG, ~/.kube/config, the pod's account.", rich_help_panel="Cluster"),
]
ContextOption = Annotated[
    str, typer.Option(help="Context of the kubeconfig; by default the current one.", rich_help_panel="Cluster")
]


def open_client(namespace: str | None, kubeconfig: Path | None, context: str) -> Client:
    """The client of the cluster that the options mean."""
    from trainmaster.client import Client  # noqa: PLC0415 - `--help` of other commands has no use for TLS

    return Client(namespace=namespace, kubeconfig=kubeconfig, context=context)


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs in the namespace that is meant, for the shell's completion."""
    names: list[str] = []

    def ask() -> None:
        given = ctx.params
        try:
            client = open_client(given.get("namespace"), given.get("kubeconfig"), given.get("context") or "")
            names.extend(run.metadata.name for run in client.list())
        except TrainmasterError:
            # A message in the middle of a command line that is being typed helps nobody; Enter will show it.
            names.clear()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(COMPLETION_SECONDS)
    return [name for name in names if name.startswith(incomplete)]


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a run.", autocompletion=complete_run)]
NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Names of runs.", autocompletion=complete_run)
]
