"""A fault proxy before a double of an API server: the proxy's own tests need no control plane."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_caller import Caller, calling
from tests.support.api_server_double import ApiServerDouble, api_server_double
from tests.support.fault_proxy.proxy import FaultProxy, fault_proxy


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
