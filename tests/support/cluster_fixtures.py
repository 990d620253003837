"""The control plane of a test run, and a namespace for each test: a plugin, for whoever asks for its fixtures."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane, shared_control_plane
from tests.support.control_plane.build import find_programs

CRDS = Path(__file__).parents[2] / "crds"
PLENTY = 100_000
"""GPUs of the node: more than all tests together ask for."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the programs before the first test: it takes minutes the first time, and a test's time is limited."""
    needed = any("plane" in getattr(item, "fixturenames", ()) for item in session.items)
    if session.config.option.collectonly or not needed:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        find_programs()
        return
    with capture.global_and_fixture_disabled():
        find_programs()


def prepare(plane: ControlPlane) -> None:
    """Our CRDs, and one node for the pods of all tests: removing a node would strand pods of other workers' tests."""
    plane.kubectl("apply", "--server-side", "-f", str(CRDS))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))
    plane.add_node("fake-node", gpus=PLENTY)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """One control plane for all workers of this test run, with our CRDs and a node for every pod."""
    run = Path(tempfile.gettempdir()) / f"trainmaster-tests-{os.environ['TRAINMASTER_TEST_RUN']}"
    with shared_control_plane(run, prepare=prepare) as plane:
        yield plane


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace. Its deletion is not waited for: names are never used twice."""
    name = f"test-{secrets.token_hex(4)}"
    plane.kubectl("create", "namespace", name)
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false")
