"""Files beside the checkpoints: which of them are about the model, and that they are artifacts of their MLflow run."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.support.local_mode import TINY, LocalMode, empty_mlflow_database, manifest
from tests.support.shell import Shell
from trainmaster.adapters.local.model_files import MAX_BYTES, MAX_FILES, find_model_files


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(name)


def names(folder: Path, *checkpoints: str) -> list[str]:
    return [file.name for file in find_model_files(folder, checkpoints=checkpoints).files]


def test_checkpoints_the_launchers_files_and_what_is_half_written_are_left_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, "step-000000004-epoch-0000.pt", "step-000000004-epoch-0000.json", "step-000000008-epoch-0001.pt")
    write(
        tmp_path, "journal.jsonl", "intents.jsonl", "plan.json", "model.onnx.tmp", ".hidden", "4", "weights.safetensors"
    )
    write(tmp_path, "weights.json", "model.onnx", "curves.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.png").symlink_to("/etc/hostname")
    assert names(tmp_path, "1/4", "1/weights.safetensors") == ["curves.png", "model.onnx"]


def test_no_folder_has_no_files_and_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nothing = find_model_files(tmp_path / "nothing", checkpoints=())
    assert (nothing.files, nothing.left_out) == ((), ())
    told = find_model_files(tmp_path / "file", checkpoints=())
    assert (told.files, told.left_out) == ((), (f"{tmp_path / 'file'}: Not a directory",))


def test_a_file_that_is_too_large_is_told_and_keeps_no_other_back(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "z.png")
    with (tmp_path / "dump").open("wb") as sparse:
        sparse.truncate(MAX_BYTES + 1)
    with (tmp_path / "just").open("wb") as sparse:
        sparse.truncate(MAX_BYTES)
    found = find_model_files(tmp_path, checkpoints=())
    assert [file.name for file in found.files] == ["a.png", "just", "z.png"]
    assert found.left_out == (f"dump: {MAX_BYTES + 1} bytes, more than {MAX_BYTES}",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_told_and_keeps_no_other_back(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "z.png")
    (tmp_path / "a.png").chmod(0)
    found = find_model_files(tmp_path, checkpoints=())
    assert ([file.name for file in found.files], found.left_out) == (["z.png"], ("a.png: Permission denied",))


def test_of_many_files_the_first_by_name_are_taken_and_the_others_told_in_a_few_lines(tmp_path: Path) -> None:
    write(tmp_path, *(f"{number:03}.png" for number in range(MAX_FILES + 10)))
    found = find_model_files(tmp_path, checkpoints=())
    assert [file.name for file in found.files] == [f"{number:03}.png" for number in range(MAX_FILES)]
    assert found.left_out == (
        *(f"{number:03}.png: there are more than {MAX_FILES} files" for number in range(MAX_FILES, MAX_FILES + 3)),
        "and 7 more",
    )


def artifacts(state: Path) -> dict[str, dict[str, bytes]]:
    """Every artifact, by the name of its MLflow run and its own."""
    with closing(sqlite3.connect(state / "mlflow.db")) as database:
        runs = database.execute("select name, artifact_uri from runs").fetchall()
    folders = {name: Path(unquote(urlsplit(uri).path)) for name, uri in runs}
    return {name: files(folder) for name, folder in folders.items() if folder.is_dir()}


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


MODEL_FILES = {
    "confusion_matrix.png",
    "evaluation.json",
    "leak-audit.json",
    "learning_curves.png",
    "model-card.json",
    "model.onnx",
    "reliability.png",
}


def test_what_the_trainer_writes_about_the_model_is_in_mlflow(tmp_path: Path) -> None:
    mode = LocalMode(tmp_path, spec=manifest(hyperparameters=TINY | {"evaluation": "full"}))
    ran = mode.run()
    assert ran.returncode == 0, ran.stderr
    beside = files(mode.checkpoint_root() / "1")
    kept = artifacts(mode.state)
    assert kept == {"tiny": {name: beside[name] for name in MODEL_FILES}}
    assert json.loads(kept["tiny"]["model-card.json"])["workload"] == "market-classifier"
    assert kept["tiny"]["model.onnx"]


DRAW = """
    import hashlib, sys
    from pathlib import Path
    from trainmaster_launcher.sdk import connect
    session = connect()
    launch = str(session.plan["launch"])
    folder = Path(session.plan["storage"]["root"]) / launch
    (folder / "weights.bin").write_text("weights")
    facts = {"sha256": hashlib.sha256(b"weights").hexdigest(), "size_bytes": 7}
    session.checkpoint(path=f"{launch}/weights.bin", step=1, epoch=0, **facts)
    (folder / "curves.svg").write_text("curves of launch " + launch)
    session.progress("training", step=1, total_steps=1)
    session.point("validation", step=1, metrics={"val_loss": 1.0})
    if len(sys.argv) > 1:
        sys.exit(78)
    session.done()
"""


@pytest.fixture
def prepared(shell: Shell) -> Shell:
    """With a database, which takes seconds to make."""
    shell.state.mkdir()
    shutil.copy(empty_mlflow_database(), shell.state / "mlflow.db")
    return shell


def test_files_of_a_rerun_go_to_its_own_run_those_of_a_failure_nowhere_and_none_twice(prepared: Shell) -> None:
    draw, fail = prepared.manifest("draw", DRAW), prepared.manifest("fail", DRAW, "fail")
    ran = prepared.type("local", "run", draw, fail)
    assert ran.returncode == 1, ran.stderr
    first = {"draw": {"curves.svg": b"curves of launch 1"}}
    assert artifacts(prepared.state) == first
    [copy] = (prepared.state / "artifacts").rglob("curves.svg")
    before = copy.stat()

    again = prepared.type("local", "run", draw)
    assert again.returncode == 0, again.stderr
    assert artifacts(prepared.state) == first
    assert (copy.stat().st_ino, copy.stat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns), "it was sent again"

    rerun = prepared.type("local", "run", prepared.manifest("draw", DRAW, rerun="again"))
    assert rerun.returncode == 0, rerun.stderr
    assert artifacts(prepared.state) == first | {"draw-1": {"curves.svg": b"curves of launch 2"}}


def test_a_place_that_takes_no_file_is_told_and_the_run_succeeds_and_a_later_session_sends_it(prepared: Shell) -> None:
    file = prepared.manifest("draw", DRAW)
    blocked = prepared.state / "artifacts"
    blocked.write_text("a file where a folder should be")
    ran = prepared.type("local", "run", file, "-o", "yaml")
    assert ran.returncode == 0, ran.stderr
    assert yaml.safe_load(ran.stdout)["status"]["phase"] == "Succeeded"
    assert "all metrics are there, files about the model stay where they are and are sent later" in ran.stderr
    assert "draw: files about the model that tracking lacks: 1; kept, the same command sends them later" in ran.stderr
    with closing(sqlite3.connect(prepared.state / "mlflow.db")) as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]

    blocked.unlink()
    assert prepared.type("local", "run", file).returncode == 0
    assert artifacts(prepared.state) == {"draw": {"curves.svg": b"curves of launch 1"}}
