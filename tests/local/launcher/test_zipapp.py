"""The launcher as one file, in a Python that knows nothing of Trainmaster, as in an image of somebody else."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import trainmaster_launcher
from tests.local.launcher.conftest import Bench
from tests.support.launcher import Wire

SCRIPT = Path(__file__).parents[3] / "scripts" / "build_zipapp.sh"
PLAIN = [sys._base_executable, "-I", "-S"]  # type: ignore[attr-defined]  # the interpreter that the environment is made of
"""Without the environment's packages, without the user's, without PYTHONPATH."""

FOREIGN = """
import os, pathlib, signal
from trainmaster_launcher import sdk
mark = pathlib.Path(__file__ + ".killed")
session = sdk.connect()
print("sdk from", sdk.__file__, flush=True)
for step in range(5):
    session.progress("training", step=step, total_steps=5)
    session.point("train", step=step, epoch=0, metrics={"loss": 1.0 / (step + 1)})
    if step == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
session.done(metrics={"loss": 0.2})
"""


def build(output: Path) -> Path:
    subprocess.run([str(SCRIPT), str(output)], check=True, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable})
    return output


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("image") / "trainmaster" / "launcher.pyz")


def foreign_plan(bench: Bench) -> Wire:
    """The command names an interpreter of its own, as an image's entry point does."""
    plan = bench.plan(FOREIGN)
    return plan | {"command": [PLAIN[0], "-S", plan["command"][1]]}


def test_the_same_sources_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "again.pyz").read_bytes() == archive.read_bytes()


def test_it_holds_the_launcher_and_nothing_else(archive: Path) -> None:
    listed = subprocess.run([*PLAIN, "-m", "zipfile", "-l", str(archive)], check=True, capture_output=True, text=True)
    names = {line.split()[0] for line in listed.stdout.splitlines()[1:]}
    modules = {path.name for path in Path(trainmaster_launcher.__file__).parent.glob("*.py")}

    assert names == {f"trainmaster_launcher/{name}" for name in modules} | {"__main__.py"}


def test_a_program_of_a_foreign_image_reports_is_restarted_and_completes(bench: Bench, archive: Path) -> None:
    plan = foreign_plan(bench)
    server = bench.serve(plan)

    launcher = bench.start(plan, url=server.url, program=[*PLAIN, str(archive)])

    assert launcher.wait() == 0, launcher.printed
    assert f"sdk from {archive}" in launcher.printed
    assert {point["step"] for point in server.of_type("point")} == set(range(5))
    assert [each["crash"]["signal"] for each in server.of_type("crash")] == [signal.SIGKILL.name]
    assert launcher.termination["verdict"]["outcome"] == "Completed"
    assert launcher.termination["verdict"]["metrics"] == {"loss": 0.2}


def test_it_needs_no_writable_folder_but_the_temporary_one(bench: Bench, archive: Path) -> None:
    archive.parent.chmod(0o555)
    plan = foreign_plan(bench)
    try:
        launcher = bench.start(plan, url=bench.serve(plan).url, program=[*PLAIN, str(archive)], HOME="/nonexistent")
        assert launcher.wait() == 0, launcher.printed
    finally:
        archive.parent.chmod(0o755)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
