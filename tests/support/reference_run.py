"""The reference runs: six scripts of what users and clusters do to a run, played with and without a kill.

A script only waits for what it needs to go on, never for the operator's liveness: whoever is killed in the middle is
started again at once, and the script goes on when status says what it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy.faults import KillAfter, KillBefore
from tests.support.fault_proxy.requests import WRITES
from tests.support.oracle import Trace, trace
from tests.support.scene import Run, Scene, scene

NAME: Final = "reference"
REPORT_URL: Final = "http://reports.test/v1/reports"
"""One for all operators: it stands in the Jobs. Nobody reports in these runs."""
DURATIONS: Final = ("RunRecord.spec.activeSeconds",)
"""How long something took differs between twins."""
Side = Literal["before", "after"]
SIDES: Final[tuple[Side, ...]] = ("before", "after")
KILLS: Final[Mapping[Side, type[KillBefore | KillAfter]]] = MappingProxyType({"before": KillBefore, "after": KillAfter})


def succeeds(run: Run) -> None:
    run.wait_running(launch=1)
    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)


def is_suspended_and_resumed(run: Run) -> None:
    run.wait_running(launch=1)
    run.edit(suspend=True)
    run.wait_phase("Suspended")
    run.wait_for(lambda: not run.jobs(), what="its Job is gone")
    run.edit(suspend=False)
    run.wait_running(launch=2)
    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)


def crashes_once(run: Run) -> None:
    run.wait_running(launch=1)
    run.finish(launch=1, exit_code=1)
    run.wait_running(launch=2)
    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)


def asks_for_a_new_pod(run: Run) -> None:
    run.wait_running(launch=1)
    run.finish(launch=1, exit_code=75)
    run.wait_running(launch=2)
    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)


def is_rerun(run: Run) -> None:
    succeeds(run)
    run.edit(rerun="2")
    run.wait_running(launch=2)
    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)


def is_deleted(run: Run) -> None:
    run.wait_running(launch=1)
    run.delete()
    run.wait_gone()


Script = Callable[[Run], None]
SCRIPTS: Final[Mapping[str, Script]] = MappingProxyType(
    {
        script.__name__: script
        for script in (succeeds, is_suspended_and_resumed, crashes_once, asks_for_a_new_pod, is_rerun, is_deleted)
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a script was played."""

    trace: Trace
    writes: int
    struck: bool
    """Whether the kill came to its write."""


def play(plane: ControlPlane, script: Script, *, folder: Path, side: Side | None = None, write: int = 0) -> Outcome:
    """Play a script, with a kill before or after its `write`-th write if a side is named.

    Raises:
        AssertionError: it did not come to its end, an invariant was violated, or it was not quiet at its end.
    """
    with scene(plane, folder=folder, flags=("--report-url", REPORT_URL)) as stage:
        killed = None
        if side is not None:
            match = replace(WRITES, namespace=stage.namespace)
            killed = stage.proxy.install(KILLS[side](match=match, write=write, kill=stage.keeper.replace))
        run = stage.create(NAME)
        script(run)
        found = trace(stage.plane, stage.namespace, stage.proxy.exchanges, ignore=DURATIONS)
        outcome = Outcome(trace=found, writes=len(stage.writes), struck=killed is not None and killed.strikes > 0)
        _assert_rest(stage, run)
        return outcome


def _assert_rest(stage: Scene, run: Run) -> None:
    """Nothing of the kill is left to be done, and nothing that should not have happened has."""
    if run.wire:
        run.assert_quiet()
    else:
        mark = stage.proxy.mark()
        stage.keeper.replace().wait_until_leading()
        assert [e for e in stage.proxy.since(mark) if e.write is not None] == []
    stage.assert_lawful()
