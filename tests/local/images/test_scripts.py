"""scripts/images.sh and scripts/sbom.sh: targets, tag and builder mean the same to both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
BUILDER = '#!/bin/sh\necho "$@" >>"$0.calls"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with these scripts alone: sbom.sh writes into dist/."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2"\n')
    builder = tmp_path / "builder"
    builder.write_text(BUILDER)
    builder.chmod(0o755)
    return tmp_path


def called(checkout: Path, script: str, *targets: str, **environment: str) -> list[str]:
    """What the script asked of its builder."""
    given = {"PATH": os.environ["PATH"], "BUILDER": str(checkout / "builder")} | environment
    subprocess.run([str(checkout / "scripts" / script), *targets], env=given, check=True, capture_output=True)
    return (checkout / "builder.calls").read_text().splitlines()


@pytest.mark.parametrize("script", ["images.sh", "sbom.sh"])
def test_both_images_of_this_version_are_meant_unless_others_are_named(script: str, checkout: Path) -> None:
    operator, trainer = called(checkout, script)
    assert "trainmaster/operator:1.2 " in operator
    assert "trainmaster/trainer:1.2 " in trainer

    (named,) = called(checkout, script, "operator", TAG="t")[2:]
    assert "trainmaster/operator:t " in named


@pytest.mark.parametrize("script", ["images.sh", "sbom.sh"])
def test_a_machine_that_cannot_work_on_images_is_told_so(script: str, checkout: Path) -> None:
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "sed", "env"):
        (tools / name).symlink_to(shutil.which(name) or sys.exit(f"no {name}"))
    done = subprocess.run(
        [str(checkout / "scripts" / script)], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr == f"{script}: no docker, podman or buildah on the PATH to work on images with\n"
