"""`python -m tests.support.control_plane` builds what is missing of the programs and says where they are."""

from __future__ import annotations

import sys

from tests.support.control_plane.build import BuildError, find_programs


def main() -> None:
    """Run as a program; exit code 1 when a program cannot be built."""
    try:
        found = find_programs()
    except BuildError as error:
        sys.exit(f"control plane: {error}")
    for name, path in found.items():
        print(f"{name}\t{path}")  # noqa: T201  # the command's output


if __name__ == "__main__":
    main()
