"""`python -m tests.support.node up|down|env`: a cluster for a developer, on this machine."""

from __future__ import annotations

import argparse
import sys

from tests.support.control_plane.build import BuildError
from tests.support.control_plane.process import locked
from tests.support.node.folders import default_folders
from tests.support.node.node import MachineError, end_node, running_node, start_node


def main() -> None:
    """Run as a program; exit code 1 where the node cannot be started or ended, with the reason."""
    parser = argparse.ArgumentParser(prog="tests.support.node", description=__doc__)
    parser.add_argument("what", choices=("up", "down"))
    what = parser.parse_args().what
    folders = default_folders()
    try:
        if what == "down":
            with locked(folders.lock):
                end_node(folders)
            return
        node = running_node(folders) or start_node(folders)
    except (AssertionError, BuildError, MachineError) as error:
        sys.exit(f"node: {error}")
    print(f"export KUBECONFIG={node.folders.kubeconfig('admin')}")  # noqa: T201  # the command's output


if __name__ == "__main__":
    main()
