"""What the how-to tells people to apply, applied: the ConfigMap of Argo CD, its actions, a step of Argo Workflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.control_plane import ControlPlane
from tests.support.gitops.appliers import ARGO_CD, Repository, named, repository
from tests.support.gitops.lua import act
from tests.support.gitops.reporter import Reporter
from tests.support.scene import Run, Scene
from trainmaster.api.conditions import Phase

Wire = dict[str, Any]

DEPLOY = Path(__file__).parents[2] / "deploy"
WORKFLOW = "train-x7k2p"


@pytest.fixture
def argocd(plane: ControlPlane) -> str:
    """A namespace as Argo CD has it, left to the plane: its ConfigMap has settings already."""
    for path, wire in (
        ("/api/v1/namespaces", {"metadata": {"name": "argocd"}}),
        ("/api/v1/namespaces/argocd/configmaps", {"metadata": {"name": "argocd-cm"}, "data": {"url": "kept"}}),
    ):
        assert plane.request("POST", path, wire).status in {201, 409}
    return "argocd"


def test_the_config_map_is_merged_into_argo_cds_own(plane: ControlPlane, argocd: str) -> None:
    file = DEPLOY / "argocd" / "argocd-cm.yaml"
    plane.kubectl("apply", "--server-side", "--field-manager=trainmaster-health", "-f", str(file))
    data = plane.request("GET", f"/api/v1/namespaces/{argocd}/configmaps/argocd-cm").body["data"]
    assert data == {"url": "kept"} | yaml.safe_load(file.read_text())["data"]


def perform(run: Run, action: str) -> None:
    """Let Argo CD carry an action out: it patches what its script has changed."""
    before = run.scene.plane.request("GET", run.path).body
    after = act(DEPLOY / "argocd" / f"trainingrun-{action}.lua", before)
    run.edit(**{name: value for name, value in after["spec"].items() if value != before["spec"].get(name)})


def applied(stage: Scene, name: str) -> tuple[Repository, Run]:
    git = repository(name)
    run = ARGO_CD.apply(stage, git.manifest)
    run.wait_running(launch=1)
    return git, run


def test_actions_do_what_they_say_and_a_sync_leaves_them_alone(stage: Scene) -> None:
    """As long as Git does not mention the field: client-side apply takes back only what Git says otherwise."""
    git, run = applied(stage, "clicked")
    perform(run, "suspend")
    run.wait_phase(Phase.SUSPENDED)
    assert ARGO_CD.diff(stage, git.manifest) == ""
    ARGO_CD.apply(stage, git.manifest)
    perform(run, "resume")
    run.wait_running(launch=2)
    run.finish(launch=2)
    run.wait_ended(Phase.SUCCEEDED, launches=2)

    perform(run, "rerun")
    run.wait_running(launch=3)
    assert run.status["observedRerun"].startswith("argocd-")
    assert ARGO_CD.diff(stage, git.manifest) == ""


def test_an_action_on_a_field_that_git_sets_is_taken_back_by_the_next_sync(stage: Scene) -> None:
    git, run = applied(stage, "taken-back")
    ARGO_CD.apply(stage, git.commit(suspend=False))
    perform(run, "suspend")
    run.wait_phase(Phase.SUSPENDED)
    assert "suspend" in ARGO_CD.diff(stage, git.manifest)
    ARGO_CD.apply(stage, git.manifest)
    run.wait_running(launch=2)


def test_a_step_of_argo_workflows_trains_and_passes_on_what_came_out(stage: Scene) -> None:
    template, _ = yaml.safe_load_all((DEPLOY / "argo-workflows" / "train-step.yaml").read_text())
    (step,) = template["spec"]["templates"]
    text = step["resource"]["manifest"].replace("{{workflow.name}}", WORKFLOW)
    manifest = text.replace("{{inputs.parameters.learning-rate}}", "1e-3")
    kubectl = stage.plane.kubectl
    kubectl(step["resource"]["action"], "-n", stage.namespace, "-f", "-", "-o", "json", input=manifest)
    run = named(stage, WORKFLOW)
    run.wait_running(launch=1)
    Reporter(run, launch=1).step(7)
    run.finish(launch=1)
    run.wait_ended(Phase.SUCCEEDED, launches=1)

    outputs = {
        each["name"]: kubectl(
            "get", "tr", WORKFLOW, "-n", stage.namespace, "-o", f"jsonpath={each['valueFrom']['jsonPath']}"
        ).stdout
        for each in step["outputs"]["parameters"]
    }
    assert outputs == {"reason": "Completed", "metrics": '{"val_loss":"0.25"}', "checkpoint": ""}
