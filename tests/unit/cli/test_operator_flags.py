"""Flags of `trainmaster operator` that make no operator are refused by name, before anything is done."""

from __future__ import annotations

import logging
import re
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from trainmaster.cli import main as program

IMAGE = ("--trainer-image", "i")
INSECURE = "--insecure-reports"


def invoke(*arguments: str) -> tuple[int, str, int]:
    """Exit code, what was printed, and how many operators have begun."""
    with (
        patch("trainmaster.shell.operator.logs.set_up_logs"),
        patch("trainmaster.cli.operator._run") as run,
        patch("trainmaster.shell.operator.process.OperatorProcess"),
    ):
        ended = CliRunner().invoke(program.app, ["operator", *arguments], env={"COLUMNS": "200", "POD_IP": ""})
    return ended.exit_code, re.sub(r"\x1b\[[0-9;]*m", "", ended.output), run.call_count


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(("--trainer-image", ""), "--trainer-image is empty", id="no image"),
        pytest.param(("--trainer-image", "a b"), "--trainer-image is 'a b'", id="an image with a space"),
        pytest.param((*IMAGE, "-n", "Team_A"), "--namespace is 'Team_A', expected a DNS label", id="no label"),
        pytest.param((*IMAGE, "-n", "a,b"), "--namespace is 'a,b', expected a DNS label", id="two in one"),
        pytest.param((*IMAGE, "-n", ""), "--namespace is ''", id="no name"),
        pytest.param((*IMAGE, "-n", "a" * 64), "--namespace is 'aaa", id="too long"),
        pytest.param((*IMAGE, "--lease-namespace", "-"), "--lease-namespace is '-'", id="lease"),
        pytest.param((*IMAGE, "--lease-name", "A b"), "--lease-name is 'A b', expected the name", id="lease's name"),
        pytest.param((*IMAGE, "--lease-name", ""), "--lease-name is ''", id="a lease without a name"),
        pytest.param((*IMAGE, "--lease-name", "a."), "--lease-name is 'a.'", id="a lease with half a name"),
        pytest.param((*IMAGE, "--lease-name", "a" * 64), "--lease-name is 'aaa", id="a lease whose name is too long"),
        pytest.param((*IMAGE, "--report-url", "operator:8443"), "--report-url is 'operator:8443'", id="no scheme"),
        pytest.param((*IMAGE, "--report-url", "ftp://a"), "--report-url is 'ftp://a', expected an http", id="scheme"),
        pytest.param((*IMAGE, "--report-url", "https:///v1"), "--report-url is 'https:///v1'", id="no host"),
        pytest.param((*IMAGE, "--report-url", "http://a:b"), "--report-url is 'http://a:b'", id="no port"),
        pytest.param((*IMAGE, "--report-url", "http://[::1"), "--report-url is 'http://[::1'", id="no address"),
        pytest.param((*IMAGE, "--replica-url", "10.0.0.1"), "--replica-url is '10.0.0.1'", id="replica"),
    ],
)
def test_a_flag_that_makes_no_operator_is_refused_by_name(arguments: tuple[str, ...], told: str) -> None:
    code, said, begun = invoke(*arguments, INSECURE)

    assert (code, begun) == (2, 0)
    assert told in said
    assert "Traceback" not in said


@pytest.mark.parametrize("given", [("--tls-cert", "c", "--tls-key", "k"), ("--tls-secret", "s")])
def test_certificates_and_plain_http_exclude_each_other(given: tuple[str, ...]) -> None:
    code, said, begun = invoke(*IMAGE, *given, INSECURE)

    assert (code, begun) == (2, 0)
    assert "--tls-cert and --tls-key" in said
    assert "one of them" in said


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        pytest.param((), True, id="this host's name"),
        pytest.param(("--report-url", "http://laptop:8443/v1/reports"), True, id="a bare name"),
        pytest.param(("--report-url", "http://laptop.example.com/v1/reports"), False, id="a whole name"),
        pytest.param(("--report-url", "http://10.0.0.7:8443/v1/reports"), False, id="an address"),
        pytest.param(("--report-url", "http://[fd00::7]:8443/v1/reports"), False, id="an address with colons"),
    ],
)
def test_a_bare_host_name_is_warned_of(
    arguments: tuple[str, ...], *, warned: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")

    assert invoke(*IMAGE, INSECURE, *arguments)[::2] == (0, 1)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [("'laptop'" in text, "--report-url" in text) for text in said] == ([(True, True)] if warned else [])


def test_help_says_server_side_and_when_it_ends() -> None:
    _, said, _ = invoke("--help")

    assert "crds | kubectl apply --server-side -f -" in said
    assert "another replica" in " ".join(said.split())
    assert "--server-side" in CliRunner().invoke(program.app, ["--help"]).output
