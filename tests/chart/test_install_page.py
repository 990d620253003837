"""docs/install.md, word for word: its commands on a fresh cluster in their order, its files against the chart."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.chart import CHART, NAMESPACE, REPOSITORY, Json, helm, helm_program, render
from tests.support.chart_release import helm_environment
from tests.support.control_plane import ControlPlane
from tests.support.control_plane.start import start_control_plane
from tests.support.operator_process import wait_until

PAGE = REPOSITORY / "docs" / "install.md"
COMMAND_SECONDS = 240
"""A command that takes longer hangs: `helm --wait` gives up after five minutes."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of the page."""

    section: str
    kind: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines that a reader types."""
        return [line.removeprefix("$ ") for line in self.text.splitlines()]


def blocks() -> list[Block]:
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE):
        title = section.splitlines()[0]
        for kind, text in re.findall(r"^```(\S[^\n]*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            found.append(Block(section=title, kind=kind, text=text))
    return found


def of(kind: str) -> list[Block]:
    return [block for block in blocks() if block.kind == kind]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ControlPlane]:
    """A cluster that has never heard of us."""
    with start_control_plane() as plane:
        plane.add_node("fake-node")
        yield plane


@pytest.fixture
def shell(fresh: ControlPlane, tmp_path: Path) -> dict[str, str]:
    """The environment of a reader who has kubectl, helm and a checkout."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "kubectl").symlink_to(fresh.kubectl_program)
    (tools / "helm").symlink_to(helm_program())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    path = f"{tools}:{os.environ['PATH']}"
    return environment | helm_environment(fresh) | {"PATH": path, "HELM": str(helm_program())}


def test_every_command_block_is_accounted_for() -> None:
    assert {block.kind for block in blocks()} == {"console", "console pods", "yaml values", "yaml argocd", "yaml flux"}
    assert {block.section for block in of("console")} == {"Helm", "kubectl"}
    lines = [line for kind in ("console", "console pods") for block in of(kind) for line in block.text.splitlines()]
    assert all(line.startswith("$ ") for line in lines), "commands only: nothing that a reader cannot paste"


@pytest.mark.timeout(900)
def test_the_commands_work_one_after_the_other(fresh: ControlPlane, shell: dict[str, str]) -> None:
    for block in of("console"):
        for command in block.commands:
            if command.startswith("kubectl apply"):
                gone(fresh)
            if "--take-ownership" in command and helm("version", "--template={{.Version}}").stdout.startswith("v4"):
                command += " --force-conflicts"  # noqa: PLW2901 - as the page says of Helm 4
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=REPOSITORY,
                env=shell,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_SECONDS,
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    assert_the_notes_are_a_run(fresh, shell)


def gone(plane: ControlPlane) -> None:
    """A reader takes one way or the other; this one waits until the first is cleaned up."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    wait_until(lambda: plane.request("GET", path).status == 404, what="the end of the namespace")


def assert_the_notes_are_a_run(plane: ControlPlane, shell: dict[str, str]) -> None:
    """The command that the notes show first makes a run."""
    notes = helm("get", "notes", "trainmaster", "--namespace", NAMESPACE, env=shell).stdout
    shown = re.search(r"^  (kubectl \S+ \S+ apply -f - <<EOF\n.*?^  EOF)$", notes, re.MULTILINE | re.DOTALL)
    assert shown, notes
    command = re.sub(r"^  ", "", shown.group(1), flags=re.MULTILINE)
    done = subprocess.run(["bash", "-c", command], env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = plane.request("GET", f"/apis/trainmaster.io/v1alpha1/namespaces/{NAMESPACE}/trainingruns/first")
    assert run.body["spec"]["command"] == ["python", "-m", "trainmaster_launcher.probe"]
    claim = run.body["spec"]["storage"]["checkpoints"].removeprefix("pvc://")
    found = plane.request("GET", f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{claim}")
    assert found.status == 200, "the claim that the run needs is made by the same command"


def test_the_values_that_are_recommended_are_taken(tmp_path: Path) -> None:
    (block,) = of("yaml values")
    values = tmp_path / "values.yaml"
    values.write_text(block.text)
    rendered = render(values=values)
    assert rendered.of("ServiceMonitor")
    assert rendered.of("ValidatingAdmissionPolicy")
    assert rendered.flags["--namespace"] == ["team-a", "team-b"]


def rendered_with(values: Json, folder: Path) -> None:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    assert render(values=path).one("Deployment")["spec"]["replicas"] == values["replicas"]


def test_the_application_of_argo_cd_names_a_chart_and_values_that_are_there(tmp_path: Path) -> None:
    (block,) = of("yaml argocd")
    application = yaml.safe_load(block.text)
    source = application["spec"]["source"]
    assert (REPOSITORY / source["path"]).samefile(CHART)
    assert "ServerSideApply=true" in application["spec"]["syncPolicy"]["syncOptions"]
    rendered_with(source["helm"]["valuesObject"], tmp_path)


def test_the_release_of_flux_names_a_chart_and_values_that_are_there(tmp_path: Path) -> None:
    (block,) = of("yaml flux")
    repository, release = yaml.safe_load_all(block.text)
    chart = release["spec"]["chart"]["spec"]
    assert (REPOSITORY / chart["chart"]).samefile(CHART)
    assert chart["sourceRef"]["name"] == repository["metadata"]["name"]
    rendered_with(release["spec"]["values"], tmp_path)


def test_commands_that_need_pods_name_flags_that_exist() -> None:
    for block in of("console pods"):
        for command in block.commands:
            program, verb, *rest = command.split()
            assert program == "helm"
            known = helm(verb, "--help").stdout
            assert all(word in known for word in rest if word.startswith("--")), command


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE.read_text())
    assert targets
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []
