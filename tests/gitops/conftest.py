"""A real operator on a real control plane, for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.scene import Scene, scene


@pytest.fixture(scope="module")
def stage(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One operator for all tests of a module: to start one costs more than most of them."""
    with scene(plane, folder=tmp_path_factory.mktemp("operator")) as found:
        yield found
        found.assert_lawful()
