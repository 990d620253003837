"""What Flux makes of recorded objects: kstatus by default, the shipped CEL expressions where it is given them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from celpy.evaluation import CELEvalError

from tests.support.gitops.cel import flux_health, holds
from tests.support.gitops.plays import RUNS
from tests.support.gitops.recordings import recorded
from tests.support.kstatus import kstatus

Wire = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "deploy" / "flux"
TABLE = {
    # recorded object -> kstatus (accepted and started), the expressions (has succeeded)
    "new": ("InProgress", "InProgress"),
    "starting": ("InProgress", "InProgress"),
    "unschedulable": ("InProgress", "InProgress"),
    "image-pull-failed": ("InProgress", "InProgress"),
    "queued": ("Current", "InProgress"),
    "running": ("Current", "InProgress"),
    "relaunching": ("Current", "InProgress"),
    "suspended": ("Current", "InProgress"),
    "unobserved": ("InProgress", "InProgress"),
    "name-conflict": ("Failed", "Failed"),
    "job-refused": ("Failed", "Failed"),
    "succeeded": ("Current", "Current"),
    "stopped-early": ("Current", "Current"),
    "already-trained": ("Current", "Current"),
    "failed": ("Failed", "Failed"),
    "crashed": ("Failed", "Failed"),
    "unknown": ("Failed", "Failed"),
}
UNSEEN = frozenset({"new", "unobserved"})
"""Flux asks no expression about them: the observed generation is not the object's."""


@pytest.fixture(scope="module")
def expressions() -> dict[str, str]:
    """Those of TrainingRun in the shipped Kustomization."""
    spec = yaml.safe_load((FOLDER / "training.yaml").read_text())["spec"]
    found: dict[str, str]
    (found,) = [each for each in spec["healthCheckExprs"] if each["kind"] == "TrainingRun"]
    assert found.pop("apiVersion") == "trainmaster.io/v1alpha1"
    assert found.pop("kind") == "TrainingRun"
    assert set(found) == {"inProgress", "failed", "current"}
    return found


def test_every_recorded_run_has_its_line_in_the_table() -> None:
    assert set(TABLE) == {play.__name__.replace("_", "-") for play in RUNS}


@pytest.mark.parametrize("name", TABLE)
def test_flux_waits_for_the_end_where_it_is_told_to(name: str, expressions: dict[str, str]) -> None:
    wire = recorded(name)
    assert (kstatus(wire), flux_health(expressions, wire)) == TABLE[name]


@pytest.mark.parametrize("name", sorted(set(TABLE) - UNSEEN))
def test_one_expression_is_true_of_a_run_that_was_seen_and_no_other(name: str, expressions: dict[str, str]) -> None:
    """Their order decides nothing: a reader can take each for itself."""
    wire = recorded(name)
    assert sum(holds(expression, wire) for expression in expressions.values()) == 1


def test_a_status_that_somebody_emptied_is_waited_for_and_no_error(expressions: dict[str, str]) -> None:
    assert flux_health(expressions, recorded("succeeded") | {"status": {}}) == "InProgress"


def test_a_missing_field_would_be_an_error() -> None:
    """Why the expressions ask `has` first: Flux waits until its timeout where one cannot be evaluated."""
    with pytest.raises(CELEvalError):
        holds("status.conditions.exists(c, c.type == 'Ready')", {"status": {}})


def test_no_manifest_of_ours_has_what_flux_would_substitute() -> None:
    """`postBuild` replaces every dollar with braces, and an unknown name by nothing."""
    root = Path(__file__).parents[2]
    texts = {path: path.read_text() for folder in ("examples", "crds") for path in (root / folder).glob("*.yaml")}
    assert texts
    assert [path for path, text in texts.items() if "${" in text] == []


def test_the_helm_release_sets_values_that_the_chart_has() -> None:
    spec = yaml.safe_load((FOLDER / "helmrelease.yaml").read_text())["spec"]
    chart = FOLDER.parents[1] / spec["chart"]["spec"]["chart"]
    assert paths(spec["values"]) <= paths(yaml.safe_load((chart / "values.yaml").read_text()))


def paths(values: Wire, *above: str) -> set[tuple[str, ...]]:
    """Where values stand."""
    here = {(*above, name) for name in values}
    return here.union(*(paths(value, *above, name) for name, value in values.items() if isinstance(value, dict)))
