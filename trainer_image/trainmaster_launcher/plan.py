"""The plan as far as the launcher reads it, and the copies of it that are kept beside the checkpoints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainmaster_launcher.errors import ConfigurationError
from trainmaster_launcher.lines import launch_files

PROTOCOL: Final = 1
PLAN_FILE: Final = "plan.json"
LIMITED_PHASES: Final = ("starting", "training", "validating", "checkpointing", "testing")

Wire = dict[str, Any]


class PlanError(ConfigurationError):
    """A plan that cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedDirective:
    """What the launcher needs of a directive; the training process gets all of it."""

    id: str
    generation: int
    at_step: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One attempt's plan. `wire` is the whole of it, unknown fields included, for the training process."""

    wire: Wire
    run_uid: str
    launch: int
    generation: int
    base_generation: int
    command: tuple[str, ...]
    env: Mapping[str, str]
    root: Path
    """Of the launcher's own files: that of the checkpoints, unless those go to an object store."""
    restart_lease: int
    hang_limits: Mapping[str, float]
    grace_seconds: float
    directives: tuple[PlannedDirective, ...]

    @property
    def folder(self) -> Path:
        """The only folder that this launch writes."""
        return self.root / str(self.launch)

    def argv(self) -> list[str]:
        """The training process's command line; `python` is the launcher's own Python."""
        command = list(self.command) or ["python", "-m", "trainmaster_trainer"]
        return [sys.executable, *command[1:]] if command[0] == "python" else command


def parse_plan(wire: object) -> Plan:
    """A plan from its JSON data. Raises PlanError with what is missing or wrong."""
    if not isinstance(wire, dict):
        message = f"plan is {type(wire).__name__}, expected a JSON object"
        raise PlanError(message)
    if wire.get("protocol") != PROTOCOL:
        message = (
            f"plan speaks protocol {wire.get('protocol')!r}, this launcher {PROTOCOL}: use a trainer image that is "
            "as old as the operator, or newer by one version at most"
        )
        raise PlanError(message)
    try:
        return _parse(wire)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"plan is not readable: {type(error).__name__}: {error}"
        raise PlanError(message) from error


def _parse(wire: Wire) -> Plan:
    limits = {phase: float(wire["hangLimits"][phase]) for phase in LIMITED_PHASES}
    directives = tuple(
        PlannedDirective(id=str(each["id"]), generation=int(each["generation"]), at_step=each.get("atStep"))
        for each in wire.get("directives", ())
    )
    return Plan(
        wire=wire,
        run_uid=str(wire["runUid"]),
        launch=int(wire["launch"]),
        generation=int(wire["generation"]),
        base_generation=int(wire["baseGeneration"]),
        command=tuple(str(word) for word in wire.get("command", ())),
        env={str(name): str(value) for name, value in wire.get("env", {}).items()},
        root=working_root(wire),
        restart_lease=int(wire["restartLease"]),
        hang_limits=limits,
        grace_seconds=float(wire.get("terminationGraceSeconds", 120)),
        directives=directives,
    )


def working_root(wire: Wire) -> Path:
    """The folder in which launches of a plan keep their journals. Raises KeyError where the plan names none."""
    storage = wire["storage"]
    return Path(storage.get("work") or storage["root"])


def supersedes(new: Plan, old: Plan) -> bool:
    """Whether to take `new`: a higher generation, or the same one whose directives gained their steps."""
    if new.generation != old.generation:
        return new.generation > old.generation
    known = {each.id: each.at_step for each in old.directives}
    steps = {each.id: each.at_step for each in new.directives}
    if known.keys() != steps.keys():
        return False
    kept = all(step is None or steps[identity] == step for identity, step in known.items())
    return kept and steps != known


def with_lease(plan: Plan, lease: int) -> Plan:
    """The same plan with a renewed lease."""
    return parse_plan(plan.wire | {"restartLease": lease})


def of_this_launch(stored: Plan, own: Plan) -> Plan:
    """A plan kept by any launch, as this launch's: launch, folders and lease are this one's."""
    own_fields = {"launch": own.launch, "storage": own.wire["storage"]}
    return parse_plan(stored.wire | own_fields | {"restartLease": own.restart_lease})


def newest(plans: Iterable[Plan]) -> Plan:
    """The plan of the highest generation; of equals the first, unless a later one gained steps."""
    chosen: Plan | None = None
    for plan in plans:
        if chosen is None or supersedes(plan, chosen):
            chosen = plan
    if chosen is None:
        raise PlanError("there is no plan")
    return chosen


def wire_with_steps(plan: Plan, steps: Mapping[str, int]) -> Wire:
    """The plan for the training process: directives carry the steps that are on record for them."""
    directives = [
        each | {"atStep": steps[each["id"]]} if each["id"] in steps else each
        for each in plan.wire.get("directives", ())
    ]
    return plan.wire | {"directives": directives}


def stored_plans(root: Path) -> list[Plan]:
    """The readable plans of all launches under a storage root. Raises OSError where storage cannot be read.

    A broken file was being written when its launcher was killed by the machine's end: the others count.
    """
    plans = []
    for path in launch_files(root, PLAN_FILE):
        try:
            plans.append(parse_plan(json.loads(path.read_bytes())))
        except (PlanError, ValueError):
            continue
    return plans


def store_plan(folder: Path, plan: Plan) -> None:
    """Writes the plan atomically. Raises OSError."""
    path = folder / PLAN_FILE
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(plan.wire, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
