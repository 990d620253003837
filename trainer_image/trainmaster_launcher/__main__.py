"""`python -m trainmaster_launcher`, and the entry point of the zipapp."""

from __future__ import annotations

import sys

from trainmaster_launcher.main import run


def main() -> None:
    """Runs the launcher; exits with its code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
