"""The recipe for a training step in Argo Workflows: its conditions on recorded objects, its manifest as we judge it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.gitops.recordings import recorded
from tests.support.gitops.selectors import SelectorError, parse, verdict
from trainmaster.api.rules import judge_spec

Wire = dict[str, Any]

RECIPE = Path(__file__).parents[2] / "deploy" / "argo-workflows" / "train-step.yaml"
TABLE = {
    # recorded object -> what becomes of the step
    "new": "Waits",
    "starting": "Waits",
    "unschedulable": "Waits",
    "image-pull-failed": "Waits",
    "queued": "Waits",
    "running": "Waits",
    "relaunching": "Waits",
    "suspended": "Waits",
    "name-conflict": "Waits",
    "job-refused": "Waits",
    "succeeded": "Succeeded",
    "stopped-early": "Succeeded",
    "already-trained": "Succeeded",
    "failed": "Failed",
    "crashed": "Failed",
    "unknown": "Failed",
}


@pytest.fixture(scope="module")
def step() -> Wire:
    """The resource template of the recipe."""
    template, _ = yaml.safe_load_all(RECIPE.read_text())
    (found,) = template["spec"]["templates"]
    resource: Wire = found["resource"]
    return resource


def becomes(step: Wire, wire: Wire) -> str:
    return verdict(wire, success=step["successCondition"], failure=step["failureCondition"])


@pytest.mark.parametrize("name", TABLE)
def test_the_step_ends_when_the_run_does_and_as_it_does(name: str, step: Wire) -> None:
    assert becomes(step, recorded(name)) == TABLE[name]


def test_a_run_of_an_earlier_workflow_would_be_taken_for_this_one(step: Wire) -> None:
    """Why the recipe creates, and never applies: conditions cannot compare two fields, so old ends look like new ones.

    The run has succeeded, and its spec, which asks for a rerun, is not seen yet.
    """
    assert becomes(step, recorded("unobserved")) == "Succeeded"
    assert step["action"] == "create"


def test_the_manifest_is_a_valid_run(step: Wire) -> None:
    text = step["manifest"].replace("{{workflow.name}}", "train-x7k2p")
    manifest = yaml.safe_load(text.replace("{{inputs.parameters.learning-rate}}", "1e-3"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("trainmaster.io/v1alpha1", "TrainingRun")
    assert judge_spec(manifest["spec"]) == ()


# -- the evaluator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("selector", "matches"), [
    ("status.phase == Running", True),
    ("status.phase = Running", True),
    ("status.phase != Running", False),
    ("status.phase in (Pending, Running)", True),
    ("status.phase notin (Pending,Running)", False),
    ("status.absent != x", True),
    ("status.absent == x", False),
    ("status.launch == 1", True),
    ("spec.suspend == false", True),
])  # fmt: skip
def test_a_part_of_a_selector(selector: str, *, matches: bool) -> None:
    (part,) = parse(selector)
    assert part.matches(recorded("running")) is matches


def test_all_of_success_and_one_of_failure() -> None:
    running = recorded("running")
    both = "status.phase == Running, status.launch == 2"
    assert verdict(running, success=both, failure="status.phase == Failed") == "Waits"
    assert verdict(running, success="status.phase == Running", failure=both) == "Failed"


@pytest.mark.parametrize("selector", [
    "",
    'status.conditions.#(type=="Succeeded").status == True',
    "status.conditions[0].status == True",
    "status.phase in Failed",
    "status.phase == (Failed)",
    "status.phase == Failed and status.launch == 1",
    'status.phase == "Failed"',
])  # fmt: skip
def test_what_kubernetes_would_not_parse_is_refused(selector: str) -> None:
    with pytest.raises(SelectorError):
        parse(selector)
