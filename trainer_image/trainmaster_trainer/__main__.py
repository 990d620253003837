"""Trains what TRAINMASTER_PLAN says: `python -m trainmaster_trainer [WORKLOAD]`, started by the launcher.

WORKLOAD stands for the plan's own: an entry point of the group `trainmaster.workloads`, or MODULE:FUNCTION.
Exit codes: 0 trained and reported, 75 asked to end (SIGTERM, Ctrl-C), 78 plan, data or machine do not fit.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_CRASHED, EXIT_OK, EXIT_RETRY
from trainmaster.api.plan import Plan
from trainmaster_trainer.cpu_guard import guard_cpu
from trainmaster_trainer.errors import ConfigurationError, TrainerError

PLAN_VARIABLE: Final = "TRAINMASTER_PLAN"


def main(arguments: Sequence[str] = ()) -> int:
    """Train; the exit code."""
    parser = argparse.ArgumentParser(prog="trainmaster_trainer", description=__doc__.partition("\n")[0])
    parser.add_argument("workload", nargs="?", help="entry point of trainmaster.workloads, or MODULE:FUNCTION")
    target = parser.parse_args(arguments).workload
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="trainer: %(levelname)s: %(message)s")
    guard_cpu()
    try:
        plan = read_plan()
        check_torch()
        return _train(plan, target=target)
    except ConfigurationError as error:
        sys.stderr.write(f"trainer: {error}\n")
        return EXIT_CONFIGURATION
    except TrainerError as error:
        sys.stderr.write(f"trainer: {error}\n")
        return EXIT_CRASHED


def read_plan() -> Plan:
    """The plan in the environment. Raises ConfigurationError if it is missing or not valid."""
    raw = os.environ.get(PLAN_VARIABLE)
    if not raw:
        message = f"{PLAN_VARIABLE} is not set: the launcher sets it to the plan, as JSON"
        raise ConfigurationError(message)
    try:
        return Plan.model_validate_json(raw)
    except ValidationError as error:
        message = f"{PLAN_VARIABLE} holds no valid plan: {error}"
        raise ConfigurationError(message) from None


def check_torch() -> None:
    """Import torch and multiply once. Raises ConfigurationError if it cannot work here."""
    try:
        import torch  # noqa: PLC0415  # the first import is the check: torch may not load on this machine

        product = torch.ones(8, 8) @ torch.ones(8, 8)
    except (ImportError, OSError, RuntimeError) as error:
        message = (
            f"torch does not work here ({type(error).__name__}: {error}): install a build of torch for this machine"
        )
        raise ConfigurationError(message) from error
    if float(product[0, 0]) != 8.0:
        message = f"torch computes wrongly here (8 ones add up to {float(product[0, 0])})"
        raise ConfigurationError(message)


def _train(plan: Plan, *, target: str | None) -> int:
    # After check_torch: these import torch themselves.
    from trainmaster_trainer.engine import InterruptionError  # noqa: PLC0415  # see above
    from trainmaster_trainer.training import train  # noqa: PLC0415  # see above

    try:
        train(plan, target=target)
    except InterruptionError as interruption:
        logging.getLogger(__name__).info("%s: ended with a checkpoint", interruption)
        return EXIT_RETRY
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
