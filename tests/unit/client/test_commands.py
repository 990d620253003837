"""The commands about a cluster, as far as they need none: words, tables, exit codes, help."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.support.runs import run_of, status_of
from trainmaster.api.errors import TrainmasterError
from trainmaster.cli import exits
from trainmaster.cli.cluster_change import SettingError, parse_settings
from trainmaster.cli.cluster_wait import DurationError, seconds_of
from trainmaster.cli.failures import exit_code_of
from trainmaster.cli.main import app
from trainmaster.cli.runs_table import column_names, run_cells
from trainmaster.client import errors

COMMANDS = ("submit", "get", "describe", "wait", "logs", "suspend", "resume", "rerun", "delete")
RUN = run_of(status=status_of(phase="Running", metrics={"val_loss": "0.5"}))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("0.5", 0.5), ("30s", 30), ("10m", 600), ("1h30m", 5400), ("2d", 172_800)]
)
def test_durations_are_written_as_for_kubectl(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1h30", "-5", "5 m", "m5"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(DurationError, match="write seconds, or 30s, 10m, 1h30m, 2d"):
        seconds_of(text)


def test_settings_are_fields_of_spec() -> None:
    given = ["hyperparameters.learning_rate=1e-4", "spec.hyperparameters.scheduler=cosine", "env=null", 'command=["x"]']
    assert parse_settings(given) == {
        "hyperparameters": {"learning_rate": 1e-4, "scheduler": "cosine"},
        "env": None,
        "command": ["x"],
    }


@pytest.mark.parametrize("text", ["x", "=1", "a..b=1", "data=1 data.source=x"])
def test_what_is_no_setting_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingError, match="--set"):
        parse_settings(text.split())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TrainmasterError("x"), exits.EXIT_REFUSED),
        (errors.RunExistsError("x"), exits.EXIT_REFUSED),
        (errors.RefusedError("x", status=403, reason="Forbidden"), exits.EXIT_REFUSED),
        (errors.RunEndedError("x", run=RUN), exits.EXIT_FAILED),
        (errors.WaitTimeoutError("x", run=RUN), exits.EXIT_TIMEOUT),
        (errors.RunNotFoundError("x"), exits.EXIT_NOT_THERE),
        (errors.RunDeletedError("x"), exits.EXIT_NOT_THERE),
        (errors.RunReplacedError("x"), exits.EXIT_NOT_THERE),
        (errors.UnreachableError("x"), exits.EXIT_UNREACHABLE),
        (errors.NoAccessError("x"), exits.EXIT_UNREACHABLE),
    ],
)
def test_exit_codes_tell_a_script_what_happened(error: TrainmasterError, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("namespaces", [False, True])
def test_each_column_has_its_cell(*, wide: bool, namespaces: bool) -> None:
    names = column_names(wide=wide, namespaces=namespaces)
    cells = dict(zip(names, run_cells(RUN, wide=wide, namespaces=namespaces), strict=True))

    assert (cells["name"], cells["phase"], cells["loss"], cells["launch"]) == ("market", "Running", "0.5", "1")
    assert cells.get("namespace") == ("default" if namespaces else None)
    assert cells.get("workload") == ("market-classifier" if wide else None)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"]).stdout
    assert f"trainmaster {command} " in shown.partition("Example")[2]
