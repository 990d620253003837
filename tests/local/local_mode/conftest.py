"""A shell to type `trainmaster` in, for one test or for all of a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """One shell for all tests of a module."""
    return Shell(tmp_path_factory.mktemp("shared"))
