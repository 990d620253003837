"""Small parts of the operator's process: metrics as documented, log lines, arguments that are refused."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from trainmaster.api.objects import Key
from trainmaster.cli import main as program
from trainmaster.shell.operator.logs import JsonFormatter
from trainmaster.shell.operator.metrics import Metrics

PAGE = Path(__file__).parents[3] / "docs/reference/operator-metrics.md"
ROW = re.compile(r"^\| `(?P<name>\w+)(\{(?P<labels>[\w,]+)\})?` \| (?P<kind>\w+) \| (?P<told>.+) \|$", re.MULTILINE)
A = Key("default", "a")
Shown = tuple[str, str, tuple[str, ...]]


# -- metrics ------------------------------------------------------------------------------------------------------


def busy() -> Metrics:
    """Metrics of a process that has done one thing of each kind."""
    metrics = Metrics()
    metrics.added()
    metrics.started(A, 0.5)
    metrics.ended(A, failed=True)
    metrics.request("GET", 200, 0.01)
    metrics.report_answered(200, 0.01)
    metrics.events.inc()
    return metrics


def shown(metrics: Metrics) -> dict[str, float]:
    """Value of each series, by name and labels."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in families
        for sample in family.samples
    }


def exposed(metrics: Metrics) -> set[Shown]:
    found = set()
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        labels = {label for sample in samples for label in sample.labels} - {"le"}
        if samples:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found.add((name, family.type, tuple(sorted(labels))))
    return found


def test_every_metric_is_documented_with_its_type_and_labels_and_none_besides() -> None:
    documented = {
        (row["name"], row["kind"], tuple(sorted((row["labels"] or "").split(","))) if row["labels"] else ())
        for row in ROW.finditer(PAGE.read_text())
    }

    assert len(documented) == PAGE.read_text().count("\n| `")
    assert exposed(busy()) == documented


def test_no_label_holds_a_runs_name() -> None:
    metrics = busy()
    before = len(shown(metrics))
    for n in range(10):
        metrics.added()
        metrics.started(Key("default", f"{n}"), 0.1)
        metrics.ended(Key("default", f"{n}"), failed=True)

    assert len(shown(metrics)) == before


def test_passes_are_counted_by_how_they_ended() -> None:
    metrics = Metrics()
    for failed in (False, True, False):
        metrics.started(A, -1)
        assert shown(metrics)["controller_runtime_active_workers['trainingrun']"] == 1
        metrics.ended(A, failed=failed)

    values = shown(metrics)
    assert values["controller_runtime_reconcile_total['success', 'trainingrun']"] == 2
    assert values["controller_runtime_reconcile_total['error', 'trainingrun']"] == 1
    assert values["controller_runtime_reconcile_errors_total['trainingrun']"] == 1
    assert values["controller_runtime_active_workers['trainingrun']"] == 0
    assert values["workqueue_queue_duration_seconds_sum['trainingrun']"] == 0, "a clock that goes back waits no time"


def test_a_request_without_an_answer_has_a_code_of_its_own() -> None:
    metrics = Metrics()
    metrics.request("GET", 0, 1.0)

    assert shown(metrics)["rest_client_requests_total['<error>', 'GET']"] == 1


def test_the_longest_pass_is_that_of_the_oldest_in_flight() -> None:
    metrics = Metrics()
    with patch("time.monotonic", lambda: 100.0):
        assert metrics.longest_reconcile() == 0
        metrics.started(A, 0)
    with patch("time.monotonic", lambda: 160.0):
        metrics.started(Key("default", "b"), 0)
    with patch("time.monotonic", lambda: 170.0):
        assert metrics.longest_reconcile() == 70
        metrics.ended(A, failed=False)
        assert metrics.longest_reconcile() == 10


# -- logs ---------------------------------------------------------------------------------------------------------


def line(**extra: object) -> dict[str, object]:
    record = logging.LogRecord("trainmaster.x", logging.WARNING, __file__, 1, "%d of\n%s", (3, "tea"), None)
    record.__dict__.update(extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, object] = json.loads(text)
    return parsed


def test_a_line_is_one_object_with_what_it_is_about() -> None:
    told = line(run="default/market", uid="u", launch=2, thread_id=7)

    moment = str(told.pop("ts"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", moment)
    assert told == {
        "level": "warning",
        "logger": "trainmaster.x",
        "msg": "3 of\ntea",
        "run": "default/market",
        "uid": "u",
        "launch": 2,
    }


def test_fields_that_are_zero_are_told_and_those_that_are_none_are_not() -> None:
    told = line(launch=0, uid=None)

    assert told["launch"] == 0
    assert "uid" not in told


def test_an_exception_is_in_its_line() -> None:
    try:
        json.loads("{")
    except ValueError:
        told = line(exc_info=sys.exc_info())

    assert str(told["exception"]).startswith("Traceback (most recent call last):")
    assert "JSONDecodeError: Expecting property name" in str(told["exception"])


# -- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param([], "give --tls-cert and --tls-key, or --tls-secret, or --insecure", id="no TLS"),
        pytest.param(["--tls-cert", "a"], "give --tls-cert and --tls-key", id="no key"),
        pytest.param(["--tls-key", "a"], "give --tls-cert and --tls-key", id="no certificate"),
        pytest.param(["--tls-key", "a", "--insecure-reports"], "give --tls-cert and --tls-key", id="half of both"),
        pytest.param(
            ["--tls-secret", "s", "--insecure-reports"], "give --tls-cert and --tls-key, or --tls-secret", id="two ways"
        ),
        pytest.param(["--tls-secret", "s"], "--tls-secret needs --report-url", id="no name for the certificate"),
        pytest.param(
            ["--insecure-reports", "--report-bind", "8443"],
            "--report-bind is '8443', expected HOST:PORT, for example 0.0.0.0:8443",
            id="no host",
        ),
        pytest.param(
            ["--insecure-reports", "--health-bind", "localhost:http"], "--health-bind is 'localhost:http'", id="no port"
        ),
        pytest.param(["--insecure-reports", "--health-bind", ""], "--health-bind is ''", id="nothing"),
        pytest.param(["--insecure-reports", "--workers", "0"], "--workers", id="no workers"),
        pytest.param(["--insecure-reports", "--log-level", "loud"], "--log-level", id="no such level"),
    ],
)
def test_arguments_that_make_no_operator_are_refused(arguments: list[str], told: str) -> None:
    with patch("trainmaster.shell.operator.logs.set_up_logs"):
        ended = CliRunner().invoke(
            program.app, ["operator", "--trainer-image", "i", *arguments], env={"COLUMNS": "200"}
        )

    assert ended.exit_code == 2
    assert told in " ".join(re.sub(r"\x1b\[[0-9;]*m|[^ -~\n]", "", ended.output).split())


@pytest.mark.parametrize(
    ("address", "url"),
    [("", ""), ("10.0.0.7", "https://10.0.0.7:8443"), ("fd00::7", "https://[fd00::7]:8443")],
)
def test_a_pod_that_leads_is_found_by_its_own_address(
    address: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = tmp_path / "admin.yaml"
    admin.write_text("allowedPriorityClasses: [low]")
    monkeypatch.setenv("POD_IP", address)
    arguments = ["--tls-secret", "s", "--report-url", "https://trainmaster.ops.svc:8443/v1/reports"]
    with (
        patch("trainmaster.shell.operator.logs.set_up_logs"),
        patch("trainmaster.cli.operator._run") as run,
        patch("trainmaster.shell.operator.process.OperatorProcess") as process,
    ):
        ended = CliRunner().invoke(
            program.app, ["operator", "--trainer-image", "i", *arguments, "--admin-file", str(admin)]
        )

    assert (ended.exit_code, run.call_count) == (0, 1)
    [settings] = process.call_args.args
    assert (settings.replica_url, settings.tls_secret, settings.admin_file) == (url, "s", admin)


def test_an_image_must_be_named() -> None:
    ended = CliRunner().invoke(program.app, ["operator", "--insecure-reports"], env={"COLUMNS": "200"})

    assert ended.exit_code == 2
    assert "trainer-image" in re.sub(r"\x1b\[[0-9;]*m", "", ended.output)
