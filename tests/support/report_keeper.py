"""Who leads, who reports and what time it is, as a test of the report server has it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from tests.support.runs import T0, UID
from trainmaster.ports.identity import AuthenticationUnavailableError, LaunchIdentity


@dataclass(kw_only=True)
class Replica:
    """Leadership as a test has it."""

    leading: bool = True
    leader_url: str | None = None


class Keeper:
    """Clock and authenticator. A token is a pod's name; `away` is an API server that cannot be asked."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None

    def now(self) -> datetime:
        return T0

    async def identify(self, token: str) -> LaunchIdentity | None:
        if self.gate is not None:
            await self.gate.wait()
        if token == "away":
            raise AuthenticationUnavailableError("the API server is away", retry_after=7)
        if not token.startswith("pod"):
            return None
        return LaunchIdentity(run_uid=UID, launch=1, namespace="default", pod_uid=token)
