"""What `helm test` runs: a manifest that is taken, and a program that trains under the real launcher."""

from __future__ import annotations

import json
import runpy
import urllib.error
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, NAMESPACE, Json, Rendered, render
from tests.support.shell import Shell

VALUES = Path(__file__).parent / "values"
PACE = "STEPS, PAUSE = 60, 0.5"
"""The line of the program that makes it last half a minute."""


def environment(rendered: Rendered) -> dict[str, str]:
    """As the container gets it: Kubernetes makes one dollar sign of two."""
    (container,) = rendered.test_pod["spec"]["containers"]
    return {each["name"]: each["value"].replace("$$", "$") for each in container["env"]}


def manifest(rendered: Rendered) -> Json:
    run: Json = json.loads(environment(rendered)["TEST_RUN"])
    return run


def test_it_trains_on_one_core_and_no_gpu_for_half_a_minute() -> None:
    spec = manifest(render())["spec"]
    assert spec["resources"] == {"cpu": 1, "gpus": 0}
    assert spec["command"] == ["python", "-c", (CHART / "files" / "test_training.py").read_text()]
    assert PACE in spec["command"][2]


def test_its_result_is_never_one_that_was_there_before() -> None:
    assert manifest(render())["spec"]["rerunPolicy"] == "Always"


def test_the_program_trains_under_the_launcher(tmp_path: Path) -> None:
    given = manifest(render())
    source = given["spec"]["command"][2]
    given["spec"]["command"][2] = source.replace(PACE, "STEPS, PAUSE = 60, 0")
    shell = Shell(tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    done = shell.type("local", "run", "run.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    status = shell.status(given["metadata"]["name"])
    assert (status["phase"], status.get("crashes", 0)) == ("Succeeded", 0)


def test_it_trains_where_the_operator_serves() -> None:
    assert environment(render())["TEST_NAMESPACE"] == NAMESPACE
    assert environment(render(values=VALUES / "namespaces.yaml"))["TEST_NAMESPACE"] == "team-a"
    assert environment(render("--set", "test.namespace=lab"))["TEST_NAMESPACE"] == "lab"


def test_its_account_may_do_nothing_but_that() -> None:
    rendered = render(values=VALUES / "everything.yaml")
    (role,) = [each for each in rendered.of("Role", hooks=True) if each["metadata"]["name"] == "trainmaster-test"]
    assert role["metadata"]["namespace"] == "team-a"
    assert {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]} == {
        ("trainingruns", "create"),
        ("trainingruns", "get"),
        ("trainingruns", "delete"),
        ("persistentvolumeclaims", "create"),
    }


@pytest.mark.parametrize("said", ["fast", ""])
def test_the_claim_is_of_the_class_that_is_said(said: str) -> None:
    claim = json.loads(environment(render("--set", f"test.storageClassName={said}"))["TEST_CLAIM"])
    assert claim["spec"].get("storageClassName", "") == said
    assert claim["spec"]["resources"]["requests"]["storage"] == "100Mi"


def test_it_can_be_left_out() -> None:
    assert render("--set", "test.enabled=false").of("Pod", hooks=True) == []


# -- the program that waits ------------------------------------------------------------------------------------------


class Server:
    """An API server that refuses what is asked for at some paths."""

    def __init__(self, *refused: tuple[str, str]) -> None:
        self.refused = refused
        """Methods, and words of the path."""
        self.asked: list[tuple[str, str]] = []

    def request(self, method: str, path: str, body: Json | None = None) -> Json:
        """In place of the program's own."""
        self.asked.append((method, path))
        if any(method == refused and word in path for refused, word in self.refused):
            raise urllib.error.HTTPError(path, 403, "Forbidden", Message(), BytesIO(b"exceeded quota"))
        given = body or {}
        return given | {"metadata": given.get("metadata", {}) | {"uid": "u"}}


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The program's globals, with the environment that the chart gives it."""
    given = environment(render()) | {"KUBERNETES_SERVICE_HOST": "server", "KUBERNETES_SERVICE_PORT": "443"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    wait: dict[str, Any] = runpy.run_path(str(CHART / "files" / "wait_for_run.py"))
    return wait["main"].__globals__  # type: ignore[no-any-return]  # what a function looks up its names in


@pytest.mark.parametrize("undeletable", [False, True])
def test_a_run_whose_claim_is_refused_is_told_of_and_removed(
    *, program: dict[str, Any], capsys: pytest.CaptureFixture[str], undeletable: bool
) -> None:
    server = Server(("POST", "persistentvolumeclaims"), *([("DELETE", "trainingruns")] if undeletable else []))
    program["request"] = server.request
    assert program["main"]() == 1
    told = capsys.readouterr().out
    created, _, removed = server.asked
    name = removed[1].rpartition("/")[2]
    assert (created[0], removed[0]) == ("POST", "DELETE")
    assert removed[1] == f"{created[1]}/{name}"
    assert told.startswith(f"creating TrainingRun {NAMESPACE}/{name}\n"), "before anything is asked for"
    assert "403: exceeded quota" in told, "what was refused, whatever became of the removal"
    assert (f"kubectl -n {NAMESPACE} delete trainingrun {name}" in told) is undeletable


def test_the_name_of_a_run_is_told_even_if_it_is_refused(
    program: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(("POST", "trainingruns"))
    program["request"] = server.request
    assert program["main"]() == 1
    assert len(server.asked) == 1
    assert capsys.readouterr().out.startswith(f"creating TrainingRun {NAMESPACE}/trainmaster-test-")
