"""The launcher's errors; each knows the exit code that it ends in."""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_OK: Final = 0
EXIT_CRASHED: Final = 1
EXIT_RETRY: Final = 75
"""EX_TEMPFAIL of sysexits: a new pod, please."""
EXIT_CONFIGURATION: Final = 78
"""EX_CONFIG of sysexits: no retry can help."""


class LauncherError(Exception):
    """The launcher cannot go on; the message carries the values and the way out."""

    exit_code: ClassVar[int] = EXIT_CRASHED


class ConfigurationError(LauncherError):
    """The plan or the environment is wrong: the same start would fail again."""

    exit_code: ClassVar[int] = EXIT_CONFIGURATION


class RetryError(LauncherError):
    """Nothing is wrong with the run, but this pod cannot train it."""

    exit_code: ClassVar[int] = EXIT_RETRY


class GoneError(RetryError):
    """The operator says that this launch is not current any more: end at once, write nothing."""


def os_words(error: OSError) -> str:
    """Why the system refused, without the path."""
    return error.strerror or str(error) or type(error).__name__
