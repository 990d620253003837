"""An operator that cannot begin says which flag is to be changed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import kopf
import pytest

from trainmaster.adapters.certificates import TlsError
from trainmaster.adapters.kubernetes.connection import Connection
from trainmaster.shell.operator.process import CannotListenError, OperatorProcess
from trainmaster.shell.operator.settings import OperatorSettings

HERE = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens at."""
    with socket.create_server((HERE, 0)) as listener:
        yield listener.getsockname()[1]


def begin(*, health_port: int = 0, report_port: int = 0, certificate: Path | None = None) -> None:
    """Run an operator whose API server nobody needs: it must not come so far."""
    settings = OperatorSettings(
        identity="one",
        image="i",
        report_url="http://operator.example.com/v1/reports",
        health_host=HERE,
        health_port=health_port,
        report_host=HERE,
        report_port=report_port,
        certificate=certificate,
        key=certificate,
        elect=False,
    )
    connection = Connection(info=kopf.ConnectionInfo(server="http://127.0.0.1:9", token="t"))
    asyncio.run(OperatorProcess(settings, load=lambda: connection).run())


def test_an_address_that_is_in_use_is_named_with_its_flag(taken: int) -> None:
    with pytest.raises(CannotListenError, match=rf"{HERE}:{taken}: Address .*in use; name another .*--health-bind"):
        begin(health_port=taken)
    with pytest.raises(CannotListenError, match=rf"{HERE}:{taken}: Address .*in use; name another .*--report-bind"):
        begin(report_port=taken)


def test_a_file_that_is_no_certificate_is_named_with_its_flag(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    words = rf"--tls-cert {file} and --tls-key {file} are no certificate and its key: "
    with pytest.raises(TlsError, match=f"{words}{file}: No such file or directory"):
        begin(certificate=file)
    file.write_text("nothing")
    with pytest.raises(TlsError, match=words):
        begin(certificate=file)
