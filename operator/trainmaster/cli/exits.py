"""Exit codes of the command line."""

from typing import Final

EXIT_OK: Final = 0
"""All went well; all runs succeeded or were stopped early."""
EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 2
"""The input was refused; nothing was spent."""
EXIT_INTERRUPTED: Final = 130
"""SIGINT or SIGTERM; the same command goes on."""
