"""From a plan to a trained workload: processes, threads, checkpoints, session, workload, engine."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Final

import torch

from trainmaster.api.plan import Plan
from trainmaster.api.wording import nearest
from trainmaster_launcher import sdk
from trainmaster_trainer.checkpoint import CheckpointStore
from trainmaster_trainer.distributed import Group, RankError, joined_group
from trainmaster_trainer.engine import Engine, Resume
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.reporting import Session
from trainmaster_trainer.storage import open_storage
from trainmaster_trainer.workload import Workload

log = logging.getLogger(__name__)

WORKLOADS: Final = "trainmaster.workloads"
"""Group of the entry points that name workloads: functions from a plan to a `Workload`."""

Factory = Callable[[Plan], Workload]


def train(plan: Plan, *, target: str | None = None) -> dict[str, float]:
    """Train what a plan says and report it through the launcher's SDK; the test metrics.

    `target` names a workload other than the plan's: an entry point, or `MODULE:FUNCTION`. Raises ConfigurationError if
    plan or data do not fit, InterruptionError after SIGTERM or Ctrl-C.
    """
    interruption = Interruption()
    interruption.listen()
    factory = load_factory(target or plan.workload)
    with joined_group(plan.processes, arguments=[target] if target else []) as group:
        return train_plan(
            plan,
            factory=factory,
            connect=lambda applied: sdk.connect(applied=applied),
            interruption=interruption,
            group=group,
        )


def train_plan(
    plan: Plan,
    *,
    factory: Factory,
    connect: Callable[[Mapping[str, int]], Session],
    interruption: Interruption,
    group: Group,
) -> dict[str, float]:
    """Train what `factory` makes of a plan, from its newest checkpoint on, in this process; the test metrics.

    `connect` opens the session that is told; it takes the directives that the checkpoint has applied.
    """
    make_deterministic(threads=max(1, plan.cpus // group.size))
    store = CheckpointStore(
        open_storage(plan.storage.root),
        launch=plan.launch,
        keep_last=plan.storage.keep_last,
        keep_best=plan.storage.keep_best,
    )
    if group.leads:
        store.clean()
    found = store.newest()
    resume = None if found is None else Resume(manifest=found[0], captured=found[1])
    place = None if found is None else found[0].sha256
    if group.tell(place) != place:
        raise RankError("the processes of this training read different newest checkpoints: one of them cannot read all")
    session = connect({} if resume is None else resume.captured["applied"])
    try:
        session.progress("starting")
        engine = Engine(
            factory(plan),
            store=store,
            session=session,
            interruption=interruption,
            every_steps=plan.storage.every_steps,
            resume=resume,
            group=group,
        )
        return engine.run()
    finally:
        session.close()


def make_deterministic(*, threads: int) -> None:
    """The same bits every time, for one number of threads; 1 or more."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)


def load_factory(target: str) -> Factory:
    """The function that makes a workload. Raises ConfigurationError for a name that nothing here has."""
    if ":" in target:
        return _imported(target)
    known = {each.name: each for each in entry_points(group=WORKLOADS)}
    if target not in known:
        near = nearest(target, set(known))
        hint = f"; did you mean {near}?" if near else ""
        message = f"this trainer has no workload {target!r} (it has: {', '.join(sorted(known))}){hint}"
        raise ConfigurationError(message)
    factory: Factory = known[target].load()
    return factory


def _imported(target: str) -> Factory:
    module, _, name = target.partition(":")
    try:
        factory: Factory = attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        message = f"workload {target}: {error}; write MODULE:FUNCTION, with the module's folder on PYTHONPATH"
        raise ConfigurationError(message) from error
    return factory
