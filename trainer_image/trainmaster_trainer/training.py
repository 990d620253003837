"""From a plan to a trained workload: threads, checkpoints, session, workload, engine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError

from trainmaster.api.hyperparameters import CATALOGUE, PLANNED, MarketClassifierHyperparameters, Scalar, effective
from trainmaster.api.plan import Plan
from trainmaster_launcher import sdk
from trainmaster_trainer.checkpoint import CheckpointStore
from trainmaster_trainer.engine import Engine, Resume
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.market.workload import MarketClassifier
from trainmaster_trainer.workload import Workload

log = logging.getLogger(__name__)

MARKET: Final = "market-classifier"


def train(plan: Plan) -> dict[str, float]:
    """Train what a plan says and report it through the launcher's SDK; the test metrics.

    Raises ConfigurationError if plan or data do not fit, InterruptionError after SIGTERM or Ctrl-C.
    """
    interruption = Interruption()
    interruption.listen()
    make_deterministic(threads=plan.cpus)
    store = CheckpointStore(
        Path(plan.storage.root),
        launch=plan.launch,
        keep_last=plan.storage.keep_last,
        keep_best=plan.storage.keep_best,
    )
    store.clean()
    found = store.newest()
    resume = None if found is None else Resume(manifest=found[0], captured=found[1])
    session = sdk.connect(applied={} if resume is None else resume.captured["applied"])
    try:
        session.progress("starting")
        engine = Engine(
            build_workload(plan),
            store=store,
            session=session,
            interruption=interruption,
            every_steps=plan.storage.every_steps,
            resume=resume,
        )
        return engine.run()
    finally:
        session.close()


def make_deterministic(*, threads: int) -> None:
    """The same bits every time, for one number of threads; 1 or more."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)


def build_workload(plan: Plan) -> Workload:
    """The workload that a plan names. Raises ConfigurationError for one that this image does not have."""
    if plan.workload != MARKET:
        message = f"this trainer image has the workload {MARKET}, not {plan.workload}"
        raise ConfigurationError(message)
    if plan.data_source is None:
        message = f"the workload {MARKET} needs spec.data.source"
        raise ConfigurationError(message)
    values = checked_hyperparameters(plan.workload, given=plan.hyperparameters)
    hyperparameters = MarketClassifierHyperparameters.model_validate(values)
    return MarketClassifier(hyperparameters, source=plan.data_source, volumes=plan.volumes)


def checked_hyperparameters(workload: str, *, given: dict[str, Scalar]) -> dict[str, Scalar]:
    """All hyperparameters. Raises ConfigurationError that names each one that does not fit, and why."""
    try:
        return effective(workload, given)
    except ValidationError as error:
        problems = "; ".join(
            _problem(
                workload, name=".".join(str(part) for part in each["loc"]), message=each["msg"], value=each["input"]
            )
            for each in error.errors()
        )
        raise ConfigurationError(problems) from None


def _problem(workload: str, *, name: str, message: str, value: object) -> str:
    if not name:
        return f"hyperparameters: {message}"
    if name in PLANNED[workload]:
        return f"hyperparameters.{name}: this version has no code for it yet; leave it out"
    if name not in CATALOGUE[workload].model_fields:
        known = ", ".join(CATALOGUE[workload].model_fields)
        return f"hyperparameters.{name}: {workload} has no such hyperparameter (it has: {known})"
    return f"hyperparameters.{name}: {message}, got {value!r}"
