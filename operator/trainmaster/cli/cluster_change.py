"""`trainmaster submit`, `suspend`, `resume`, `rerun`, `delete`: what changes runs in a cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from trainmaster.adapters.manifests import load_manifests
from trainmaster.api.errors import TrainmasterError
from trainmaster.cli.cluster import (
    RESOURCE,
    ContextOption,
    KubeconfigOption,
    NameArgument,
    NamesArgument,
    NamespaceOption,
    open_client,
)
from trainmaster.cli.exits import EXIT_REFUSED
from trainmaster.cli.output import print_problems, printable


class SettingError(TrainmasterError):
    """A `--set` is not PATH=VALUE."""


def submit(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Manifests of TrainingRuns; [b]-[/] is standard input.")
    ],
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Change runs that are there (server-side apply).")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --apply: take over fields that others set.")] = False,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Submit runs to a cluster; all files are judged before anything is sent.

    A name that is taken is refused; [b]--apply[/] changes that run instead, and may be repeated.

    [bold]Examples[/]

      trainmaster submit examples/market.yaml

      kustomize build . | trainmaster submit --apply -
    """
    judgement = load_manifests(files)
    print_problems(judgement, stream=sys.stderr)
    if judgement.errors:
        raise typer.Exit(EXIT_REFUSED)
    client = open_client(namespace, kubeconfig, context)
    for manifest in judgement.manifests:
        run = client.submit(manifest, apply=apply, force=force)
        _say(run.metadata.name, "applied" if apply else "created")


def suspend(
    names: NamesArgument,
    *,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """End the pods of runs (training saves first), and keep the runs.

    Whoever applies the manifest again, a GitOps tool for one, may undo it: then set spec.suspend there.

    [bold]Example[/]

      trainmaster suspend market && trainmaster wait market --for suspended
    """
    client = open_client(namespace, kubeconfig, context)
    for name in names:
        client.suspend(name)
        _say(name, "suspended")


def resume(
    names: NamesArgument,
    *,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Let suspended runs go on from their last checkpoints.

    [bold]Example[/]

      trainmaster resume market
    """
    client = open_client(namespace, kubeconfig, context)
    for name in names:
        client.resume(name)
        _say(name, "resumed")


def rerun(
    name: NameArgument,
    *,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change a field of spec in the same step; may be repeated."),
    ] = None,
    value: Annotated[str, typer.Option(help="The new spec.rerun; by default the time.")] = "",
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Train a run again from the start, under the same object.

    It is the one way to change what is trained without another name.

    [bold]Examples[/]

      trainmaster rerun market

      trainmaster rerun market --set hyperparameters.learning_rate=1e-4
    """
    client = open_client(namespace, kubeconfig, context)
    run = client.rerun(name, changes=parse_settings(changes or ()), value=value)
    _say(name, f"trains again (spec.rerun {run.spec.rerun})")


def delete(
    names: NamesArgument,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they are gone.")] = False,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Delete runs; their Jobs and pods go behind them, checkpoints and records stay.

    [bold]Example[/]

      trainmaster delete market --wait
    """
    client = open_client(namespace, kubeconfig, context)
    for name in names:
        meant = client.get(name)
        client.delete(meant)
        if wait:
            client.wait_deleted(meant)
        _say(name, "deleted")


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """`a.b=VALUE` and more of them as nested data; values are JSON, or else words. Raises SettingError."""
    settings: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        names = path.removeprefix("spec.").split(".")
        if not equals or not all(names):
            message = f"--set {text!r}: write PATH=VALUE, as in --set hyperparameters.learning_rate=1e-4"
            raise SettingError(message)
        place = settings
        for name in names[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                message = f"--set {text!r}: {name} is set to a value already"
                raise SettingError(message)
        place[names[-1]] = _value(value)
    return settings


def _value(value: str) -> object:
    try:
        return json.loads(value, parse_constant=str)
    except ValueError:
        return value


def _say(name: str, what: str) -> None:
    sys.stdout.write(printable(f"{RESOURCE}/{name} {what}") + "\n")
