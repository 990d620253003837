"""docs/how-to/run-the-operator.md says what works: its claim, its wait, its endpoints, its flags."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.cluster_runs import RUNS, fresh_namespace, run_manifest
from tests.support.control_plane import ControlPlane
from trainmaster.api.trainingrun import TrainingRun

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "run-the-operator.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text()


@pytest.fixture
def arena(plane: ControlPlane) -> Iterator[str]:
    with fresh_namespace(plane) as name:
        yield name


def test_kinds_are_applied_server_side_wherever_it_is_said() -> None:
    folders = (ROOT / "docs", ROOT / "operator", ROOT / "charts")
    files = [ROOT / "README.md", *(f for folder in folders for f in folder.rglob("*.*") if f.suffix in {".md", ".py"})]
    lines = [line for file in files for line in file.read_text().splitlines() if "crds | kubectl" in line]

    assert len(lines) >= 5
    assert [line for line in lines if "apply --server-side" not in line] == []


def test_the_claim_is_the_one_that_the_example_trains_on(plane: ControlPlane, arena: str, page: str) -> None:
    claim = re.search(r"kubectl apply -f - <<'EOF'\n(.*?)\nEOF\n", page, re.DOTALL)
    assert claim is not None
    example = TrainingRun.model_validate(yaml.safe_load((ROOT / "examples" / "custom.yaml").read_text()))
    assert f"pvc://{yaml.safe_load(claim[1])['metadata']['name']}" == example.spec.storage.checkpoints

    plane.kubectl("-n", arena, "apply", "-f", "-", input=claim[1])
    assert page.index("kind: PersistentVolumeClaim") < page.index("kubectl apply -f examples/custom.yaml")


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Unknown"])
def test_the_wait_ends_however_the_run_does(plane: ControlPlane, arena: str, page: str, phase: str) -> None:
    line = next(line for line in page.splitlines() if line.startswith("$ kubectl wait tr/custom"))
    runs = RUNS.format(arena)
    assert plane.request("POST", runs, run_manifest("custom", {"workload": "custom", "command": ["a"]})).status == 201
    words = [re.sub(r"--timeout=\S+", "--timeout=1s", word) for word in shlex.split(line, comments=True)[2:]]
    assert "timed out" in plane.kubectl("-n", arena, *words, check=False).stderr, "it has not ended yet"

    ended = {"phase": phase, "completionTime": "2026-01-01T00:00:00Z"}
    assert plane.request("PATCH", f"{runs}/custom/status", {"status": ended}).status == 200
    plane.kubectl("-n", arena, *words)
