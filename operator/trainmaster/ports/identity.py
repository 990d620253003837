"""The port to identity: who sent this report?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trainmaster.api.errors import TrainmasterError


class AuthenticationUnavailableError(TrainmasterError):
    """It cannot be told now whose token this is: no reason to doubt the token, so never answered with a refusal."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which asking again makes sense."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchIdentity:
    """What a launcher's token proves."""

    run_uid: str
    launch: int
    namespace: str = ""
    """Where its pod is; empty where there are no namespaces to keep apart."""
    pod_uid: str = ""
    """The pod that the token is bound to; empty where there are no pods."""


class Authenticator(Protocol):
    """Turns a bearer token into an identity."""

    async def identify(self, token: str) -> LaunchIdentity | None:
        """The identity that the token proves, or None for a token that proves nothing.

        Raises:
            AuthenticationUnavailableError: Whoever knows is not there to be asked.
        """
