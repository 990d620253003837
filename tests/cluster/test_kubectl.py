"""What kubectl shows of runs, and what it can wait for."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator

import pytest

from tests.support.cluster_runs import CLAIM, UserRun, fresh_namespace
from tests.support.control_plane import ControlPlane
from tests.support.kstatus import kstatus
from tests.support.operator_process import running_operator

WIDE = ["NAME", "PHASE", "PROGRESS", "LOSS", "HEALTH", "ATTEMPT", "WORKLOAD", "LAUNCH", "AGE"]


@pytest.fixture(scope="module")
def arena(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace that an operator serves."""
    with fresh_namespace(plane, claim=CLAIM) as name:
        flags = ("--namespace", name, "--no-leader-elect")
        with running_operator(plane.kubeconfig, *flags, folder=tmp_path_factory.mktemp("operator")) as operator:
            operator.wait_until_leading()
            yield name


@pytest.fixture
def run(plane: ControlPlane, arena: str) -> UserRun:
    return UserRun(plane=plane, namespace=arena, name=f"shown-{secrets.token_hex(3)}")


def columns(run: UserRun, *flags: str) -> dict[str, str]:
    """The one line of `kubectl get tr NAME`, by column; cells have two spaces between them."""
    header, line = run.plane.kubectl("get", "tr", run.name, "-n", run.namespace, *flags).stdout.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return dict(zip(header.split(), cells, strict=True))


def test_get_shows_a_run_in_one_line(run: UserRun) -> None:
    run.create()
    run.until_running()
    # As reports leave them; none of it is touched by an operator that has heard no report.
    run.write_status({"progress": {"step": 50, "totalSteps": 100, "epoch": 1, "percent": 50}})
    run.write_status({"metrics": {"val_loss": "0.25"}, "health": {"problems": ["gradient-explosion"]}})

    wide = columns(run, "-o", "wide")
    assert list(wide) == WIDE
    assert wide.pop("AGE")
    assert list(wide.values()) == [run.name, "Running", "50", "0.25", "gradient-explosion", "1", "custom", "1"]
    assert list(columns(run)) == [name for name in WIDE if name not in {"WORKLOAD", "LAUNCH"}]


def test_describe_tells_what_happened_and_why(run: UserRun) -> None:
    run.create(recovery={"budgets": {"crashes": 0}})
    run.end(137)
    run.until_condition("Succeeded", "False")

    def described() -> str:
        return run.plane.kubectl("describe", "tr", run.name, "-n", run.namespace).stdout

    run.until(lambda: "CrashBudgetExhausted  " in described().partition("Events:")[2], what="its Events")
    status, _, events = described().partition("Events:")
    for words in (
        r"Phase: +Failed",
        r"Type: +Stalled",
        r"Reason: +CrashBudgetExhausted",
        r"Message: +1 crashes, 0 allowed; the last one: .*exit code 137",
        r"Launch: +1",
        r"Crashes: +1",
    ):
        assert re.search(words, status), words
    for words in (
        r"Normal +FirstLaunch +\S+ +trainmaster +starting launch 1",
        r"Normal +Running +\S+ +trainmaster +the pod runs; no report yet",
        r"Warning +Crashed +\S+ +trainmaster +crash 1 of this rerun",
        r"Warning +CrashBudgetExhausted +\S+ +trainmaster +1 crashes, 0 allowed",
    ):
        assert re.search(words, events), words


def test_wait_returns_when_a_run_has_succeeded(run: UserRun) -> None:
    run.create()
    waiting = ("wait", "tr", run.name, "-n", run.namespace, "--timeout=60s")
    assert "condition met" in run.plane.kubectl(*waiting, "--for=condition=Ready").stdout
    assert kstatus(run.get()) == "Current", "it runs: a GitOps tool goes on"

    ending = threading.Thread(target=run.succeed)
    ending.start()
    assert "condition met" in run.plane.kubectl(*waiting, "--for=condition=Succeeded").stdout
    ending.join()
    assert kstatus(run.get()) == "Current"


def test_wait_returns_when_a_run_has_failed(run: UserRun) -> None:
    run.create()
    run.end(78)
    waiting = ("wait", "tr", run.name, "-n", run.namespace, "--timeout=60s")
    assert "condition met" in run.plane.kubectl(*waiting, "--for=condition=Succeeded=False").stdout
    assert kstatus(run.get()) == "Failed"


def test_explain_tells_what_a_field_means(plane: ControlPlane) -> None:
    assert "trains again from the start" in plane.kubectl("explain", "trainingrun.spec.rerun").stdout
