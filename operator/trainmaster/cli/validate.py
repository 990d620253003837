"""`trainmaster validate`: judge manifests without a cluster, like a compiler."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from trainmaster.adapters.manifests import Judgement, Manifest, load_manifests
from trainmaster.cli.exits import EXIT_REFUSED
from trainmaster.cli.output import OutputFormat, OutputOption, print_data, print_problems, printable, stdout


def validate(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="YAML or JSON files; [b]-[/] reads standard input.")
    ],
    *,
    output: OutputOption = OutputFormat.TABLE,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
) -> None:
    """Judge manifests offline: every problem at once, with its place and the way out.

    Exit code 0 if all can be used, 2 if not.

    [bold]Examples[/]

      trainmaster validate examples/market.yaml

      kustomize build . | trainmaster validate --strict -

      trainmaster validate runs/*.yaml -o json
    """
    judgement = load_manifests(files)
    if output is OutputFormat.TABLE:
        print_problems(judgement, stream=sys.stdout)
        for manifest in judgement.manifests:
            stdout().print(printable(f"{manifest.file}:{manifest.line}: {_name(manifest)}: valid"))
        if judgement.problems:
            stdout().print(_summary(judgement, files=len(files)))
    else:
        print_data(_as_data(judgement, strict=strict), output=output)
    if _refused(judgement, strict=strict):
        raise typer.Exit(EXIT_REFUSED)


def _refused(judgement: Judgement, *, strict: bool) -> bool:
    return bool(judgement.problems if strict else judgement.errors)


def _summary(judgement: Judgement, *, files: int) -> str:
    counts = (
        _count(len(judgement.errors), "error"),
        _count(len(judgement.warnings), "warning"),
        f"in {_count(files, 'file')}",
    )
    return f"{counts[0]}, {counts[1]} {counts[2]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _name(manifest: Manifest) -> str:
    return f"{manifest.run.kind} {manifest.run.metadata.key}"


def _as_data(judgement: Judgement, *, strict: bool) -> dict[str, Any]:
    return {
        "valid": not _refused(judgement, strict=strict),
        "objects": [
            {
                "file": manifest.file,
                "line": manifest.line,
                "kind": manifest.run.kind,
                "namespace": manifest.run.metadata.namespace,
                "name": manifest.run.metadata.name,
            }
            for manifest in judgement.manifests
        ],
        "problems": [
            {
                "severity": problem.severity,
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "message": problem.message,
                "value": problem.value,
                "hint": problem.hint,
            }
            for problem in judgement.problems
        ],
    }
