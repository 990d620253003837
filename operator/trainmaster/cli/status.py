"""`trainmaster status`: what is installed here, and what runs."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from trainmaster import __version__
from trainmaster.adapters.local.inspection import view_runs
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.api.plan import PROTOCOL
from trainmaster.cli.local import DEFAULT_STATE_DIR, StateDirOption, views_table
from trainmaster.cli.output import OutputFormat, OutputOption, print_data, stdout

PARTS = ("torch", "mlflow", "aiohttp", "pydantic")


def status(*, output: OutputOption = OutputFormat.TABLE, state_dir: StateDirOption = DEFAULT_STATE_DIR) -> None:
    """Show versions, the state directory and its runs."""
    views = view_runs(StateDir(state_dir))
    if output is not OutputFormat.TABLE:
        runs = [{"key": str(v.run.metadata.key), "phase": v.run.status.phase, "attended": v.attended} for v in views]
        print_data({"versions": dict(_versions()), "stateDir": str(state_dir), "runs": runs}, output=output)
        return
    console = stdout()
    for name, number in _versions():
        console.print(f"{name:<12} {number}")
    console.print(f"{'state':<12} {state_dir}{'' if state_dir.exists() else ' (not made yet)'}")
    if views:
        console.print()
        console.print(views_table(views))
    else:
        console.print("No runs yet. Try: trainmaster demo")


def _versions() -> Iterator[tuple[str, str]]:
    yield "trainmaster", __version__
    yield "protocol", str(PROTOCOL)
    yield "python", platform.python_version()
    for part in PARTS:
        try:
            yield part, version(part)
        except PackageNotFoundError:
            yield part, "not installed"
