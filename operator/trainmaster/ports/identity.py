"""The port to identity: who sent this report?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchIdentity:
    """What a launcher's token proves."""

    run_uid: str
    launch: int


class Authenticator(Protocol):
    """Turns a bearer token into an identity."""

    async def identify(self, token: str) -> LaunchIdentity | None:
        """The identity that the token proves, or None for a token that proves nothing."""
