"""Files as they come: missing, folders, examples of the project, generated files that are committed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainmaster.adapters.manifests import load_manifests
from trainmaster.api.crds import all_crds
from trainmaster.api.errors import TrainmasterError
from trainmaster.cli.crds import HEADER, crds, file_name
from trainmaster.cli.output import to_yaml
from trainmaster.cli.reference_docs import pages

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_good_without_a_warning(path: Path) -> None:
    assert load_manifests([str(path)]).problems == ()


def test_there_are_examples() -> None:
    assert {"market.yaml", "custom.yaml"} <= {path.name for path in EXAMPLES}


def test_a_missing_file_a_folder_and_a_good_file_are_judged_together(tmp_path: Path) -> None:
    judgement = load_manifests([str(tmp_path / "none.yaml"), str(tmp_path), str(EXAMPLES[0])])

    assert [problem.message for problem in judgement.problems] == [
        "cannot be read: no such file or directory",
        "is a directory",
    ]
    assert len(judgement.manifests) == 1


def test_an_endless_file_ends() -> None:
    assert "is larger than" in load_manifests(["/dev/zero"]).problems[0].message


def test_a_file_that_is_named_twice_is_read_once() -> None:
    assert load_manifests([str(EXAMPLES[0]), str(EXAMPLES[0])]).problems == ()


def test_committed_crds_are_what_the_models_say() -> None:
    assert {path.name: path.read_text() for path in (ROOT / "crds").iterdir()} == {
        file_name(crd): HEADER + to_yaml(crd) for crd in all_crds()
    }


def test_committed_pages_are_what_the_models_say() -> None:
    for name, text in pages().items():
        assert (ROOT / "docs" / "reference" / name).read_text() == text


def test_a_folder_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(TrainmasterError, match="--write"):
        crds(write=tmp_path / "file")


def test_the_program_starts_without_what_is_slow_to_import() -> None:
    code = "import sys, trainmaster.cli.main; print({'mlflow', 'aiohttp', 'torch', 'numpy'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
