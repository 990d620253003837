"""Options and fixtures that every test may use."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.support.cluster_fixtures"]

SEED_KEY = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="Seed of sampled series; printed, random when not given.")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("TRAINMASTER_TEST_RUN", str(os.getpid()))
    workers = getattr(config, "workerinput", None)
    if workers is not None:
        config.stash[SEED_KEY] = int(workers["trainmaster_seed"])
        return
    given = config.getoption("--seed")
    config.stash[SEED_KEY] = secrets.randbelow(2**31) if given is None else int(given)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shared = Path(tempfile.gettempdir()) / f"trainmaster-tests-{os.environ['TRAINMASTER_TEST_RUN']}"
        shutil.rmtree(shared, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Hand the seed to an xdist worker: all of them sample from one."""
    node.workerinput["trainmaster_seed"] = node.config.stash[SEED_KEY]  # type: ignore[attr-defined]  # xdist has no types


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.stash[SEED_KEY]} (repeat with --seed {config.stash[SEED_KEY]})"


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    return pytestconfig.stash[SEED_KEY]
