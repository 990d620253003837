"""docs/how-to/gitops.md says what is so: its table, its manifest, its commands, its links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support.gitops.cel import flux_health
from tests.support.gitops.lua import health
from tests.support.gitops.plays import RUNS
from tests.support.gitops.recordings import recorded
from tests.support.gitops.selectors import verdict
from tests.support.kstatus import kstatus
from trainmaster.adapters.manifests import judge_text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "gitops.md"
ROWS = {
    # beginning of the row -> recorded objects that it is about
    "new or changed, not seen yet": {"new", "unobserved"},
    "`Pending`, never started": {"starting", "unschedulable", "image-pull-failed"},
    "`Queued`": {"queued"},
    "`Running`": {"running"},
    "`Pending`, between two launches": {"relaunching"},
    "`Suspended`": {"suspended"},
    "held up: `NameConflict`, `JobRefused`": {"name-conflict", "job-refused"},
    "`Succeeded`: completed, stopped early, already trained": {"succeeded", "stopped-early", "already-trained"},
    "`Failed`": {"failed", "crashed"},
    "`Unknown`: no verdict": {"unknown"},
}
STEP = {"Waits": "waits", "Succeeded": "succeeds", "Failed": "fails"}


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def told(name: str) -> list[str]:
    """What each tool makes of a recorded object, in the order of the page's columns."""
    wire, deploy = recorded(name), ROOT / "deploy"
    (flux,) = yaml.safe_load((deploy / "flux" / "training.yaml").read_text())["spec"]["healthCheckExprs"]
    workflow = next(iter(yaml.safe_load_all((deploy / "argo-workflows" / "train-step.yaml").read_text())))
    step = workflow["spec"]["templates"][0]["resource"]
    return [
        health(deploy / "argocd" / "trainingrun-health.lua", wire)[0],
        kstatus(wire),
        flux_health(flux, wire),
        STEP[verdict(wire, success=step["successCondition"], failure=step["failureCondition"])],
    ]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_is_what_the_tools_say(row: str, page: str) -> None:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {row} |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
    # A step that creates its run never sees one that has ended before.
    names = ROWS[row] - {"unobserved"} if cells[-1] == "waits" else ROWS[row]
    assert [told(name) for name in sorted(names)] == [cells] * len(names)


def test_every_place_where_a_run_can_stand_has_its_row() -> None:
    assert set().union(*ROWS.values()) == {play.__name__.replace("_", "-") for play in RUNS}


def test_the_manifest_is_valid(page: str) -> None:
    (manifest,) = [block for block in blocks(page, "yaml") if "kind: TrainingRun" in block]
    assert judge_text(manifest).problems == ()


def test_the_conditions_are_those_of_the_recipe(page: str) -> None:
    (shown,) = [yaml.safe_load(block) for block in blocks(page, "yaml") if "successCondition" in block]
    recipe = (ROOT / "deploy" / "argo-workflows" / "train-step.yaml").read_text()
    step = next(iter(yaml.safe_load_all(recipe)))["spec"]["templates"][0]["resource"]
    assert shown == {name: step[name] for name in shown}


def test_links_and_files_lead_somewhere(page: str) -> None:
    files = {ROOT / word for block in blocks(page, "console") for word in block.split() if word.startswith("deploy/")}
    files |= {PAGE.parent / link for link in re.findall(r"\]\((\.\./[^)#]+)\)", page)}
    assert len(files) >= 4
    assert [file for file in files if not file.is_file()] == []
