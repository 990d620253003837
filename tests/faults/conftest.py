"""A fault proxy before a double of an API server, for the proxy's own tests; a scene for those of the operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_caller import Caller, calling
from tests.support.api_server_double import ApiServerDouble, api_server_double
from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy.proxy import FaultProxy, fault_proxy
from tests.support.scene import Scene, scene


@pytest.fixture
def server() -> Iterator[ApiServerDouble]:
    with api_server_double() as server:
        yield server


@pytest.fixture
def proxy(server: ApiServerDouble) -> Iterator[FaultProxy]:
    with fault_proxy(server) as proxy:
        yield proxy


@pytest.fixture
def caller(proxy: FaultProxy) -> Iterator[Caller]:
    with calling(proxy.url, ca=proxy.ca) as caller:
        yield caller


@pytest.fixture
def other(proxy: FaultProxy) -> Iterator[Caller]:
    """A second connection of the same operator."""
    with calling(proxy.url, ca=proxy.ca) as caller:
        yield caller


@pytest.fixture(scope="module")
def standing_scene(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One operator for all tests of a module: to start one costs more than most tests."""
    with scene(plane, folder=tmp_path_factory.mktemp("operator")) as found:
        yield found


@pytest.fixture
def stage(standing_scene: Scene) -> Iterator[Scene]:
    """The module's scene, in order before and after: the operator lives, and no fault is at work."""
    yield standing_scene
    standing_scene.proxy.clear()
    if standing_scene.operator.process.poll() is not None:
        standing_scene.keeper.start()
        standing_scene.operator.wait_until_leading()
