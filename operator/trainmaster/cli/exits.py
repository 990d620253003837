"""Exit codes of the command line: small numbers that a script can tell apart."""

from typing import Final

EXIT_OK: Final = 0
"""All went well; all runs succeeded or were stopped early."""
EXIT_FAILED: Final = 1
"""A run failed, or has ended otherwise than it was waited for."""
EXIT_REFUSED: Final = 2
"""The input was refused; nothing was spent."""
EXIT_TIMEOUT: Final = 3
"""What was waited for has not come in time; nothing was changed."""
EXIT_NOT_THERE: Final = 4
"""The run is not there, was deleted, or another one has its name now."""
EXIT_UNREACHABLE: Final = 5
"""The API server does not answer, or there is no way to it."""
EXIT_INTERRUPTED: Final = 130
"""SIGINT or SIGTERM; the same command goes on."""
