"""`python -m tests.support.control_plane`: the programs of the test control plane, or one to play with."""

from __future__ import annotations

import argparse
import sys

from tests.support.control_plane.build import BuildError, find_programs
from tests.support.control_plane.plane import PlaneError
from tests.support.control_plane.playground import play

ABOUT = """Builds what is missing of the test control plane's programs (from Go modules, 7-10 minutes the first time)
and prints where they are."""


def main() -> None:
    """Run as a program; exit code 1 when a program cannot be built or a plane does not start."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.control_plane", description=ABOUT)
    told = "start a control plane with a fake node, print how to reach it, and keep it until Ctrl-C"
    parser.add_argument("--playground", action="store_true", help=told)
    wanted = parser.parse_args()
    try:
        found = find_programs()
        if wanted.playground:
            play()
            return
    except (BuildError, PlaneError) as error:
        sys.exit(f"control plane: {error}")
    for name, path in found.items():
        print(f"{name}\t{path}")  # noqa: T201  # the command's output


if __name__ == "__main__":
    main()
