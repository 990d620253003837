"""`python -m tests.support.gitops` records tests/gitops/recorded anew, from a real operator on a real control plane."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.cluster_fixtures import prepare
from tests.support.control_plane import start_control_plane
from tests.support.gitops.plays import PLAYS
from tests.support.gitops.recordings import FOLDER, write
from tests.support.scene import scene


def main() -> None:
    """Run as a program."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.yaml"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder, start_control_plane() as plane:
        prepare(plane)
        with scene(plane, folder=Path(folder)) as played:
            for name, play in PLAYS.items():
                write(name, play(played))
                print(name, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()
