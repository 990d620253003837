"""Which exit code an error ends a command with. Apart from `exits`: local mode knows no cluster, nor its errors."""

from __future__ import annotations

from trainmaster.api.errors import TrainmasterError
from trainmaster.cli.exits import EXIT_FAILED, EXIT_NOT_THERE, EXIT_REFUSED, EXIT_TIMEOUT, EXIT_UNREACHABLE


def exit_code_of(error: TrainmasterError) -> int:
    """What a command ends with that has ended by this error."""
    from trainmaster.client import errors  # noqa: PLC0415 - only a command that has failed needs to know them

    codes: tuple[tuple[tuple[type[TrainmasterError], ...], int], ...] = (
        ((errors.RunEndedError,), EXIT_FAILED),
        ((errors.WaitTimeoutError,), EXIT_TIMEOUT),
        ((errors.RunNotFoundError, errors.RunDeletedError, errors.RunReplacedError), EXIT_NOT_THERE),
        ((errors.UnreachableError, errors.NoAccessError), EXIT_UNREACHABLE),
    )
    return next((code for kinds, code in codes if isinstance(error, kinds)), EXIT_REFUSED)
