"""What importing costs: the package itself next to nothing, its client no library that a laptop may not have."""

from __future__ import annotations

import subprocess
import sys

import pytest

import trainmaster
from trainmaster.client import Client

HEAVY = ("aiohttp", "asyncio", "cryptography", "kopf", "mlflow", "orjson", "rich", "torch", "typer")


def modules_after(statement: str) -> set[str]:
    """Names of the modules that a fresh Python has after a statement."""
    program = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_alone_imports_nothing() -> None:
    assert {
        name for name in modules_after("import trainmaster") if name.startswith(("pydantic", "trainmaster."))
    } == set()


def test_the_client_stands_on_the_standard_library_pydantic_and_yaml() -> None:
    loaded = modules_after("from trainmaster import Client")
    assert "trainmaster.client.client" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_front_door_has_one_name_behind_it() -> None:
    assert trainmaster.Client is Client
    with pytest.raises(AttributeError, match="module 'trainmaster' has no attribute 'Cleint'"):
        _ = trainmaster.Cleint  # type: ignore[attr-defined]  # that is the test
