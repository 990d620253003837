"""Runs that are stored but that this version cannot read: said once, in the log and in their own conditions.

Such a run cannot be decided about; its Job, if it has one, goes on. Its status is patched raw, conditions only: the
rest is whoever's wrote it.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import ApiClient, ApiError
from trainmaster.api.conditions import READY, RECONCILING, STALLED, Reason
from trainmaster.api.objects import Key

logger = logging.getLogger(__name__)

Json = dict[str, Any]

MESSAGE_MAX: Final = 1024
"""Characters: the object's own wrong value is quoted in it, however long that is."""


class UnreadableRuns:
    """Tells of each unreadable run once per thing that is wrong with it."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._told: dict[Key, str] = {}

    def forget(self, key: Key) -> None:
        """This run is gone, or can be read again."""
        self._told.pop(key, None)

    async def tell(self, key: Key, raw: Json, message: str) -> None:
        """Say that a run cannot be read. Raises ApiError where the server cannot be told now."""
        if self._told.get(key) == message:
            return
        logger.warning("%s; it is left alone until then", message)
        patch = status_patch(raw, message[:MESSAGE_MAX], now=datetime.now(UTC))
        if patch is not None:
            try:
                await self._client.patch(paths.run_status(key), patch)
            except ApiError as error:
                if not 400 <= error.status < 500:
                    raise
                logger.warning("%s cannot be told that it is unreadable: %s", key, error)
        self._told[key] = message


def status_patch(raw: Json, message: str, *, now: datetime) -> Json | None:
    """The merge patch that makes a run's conditions say that it cannot be read; None: they say so already."""
    status = raw.get("status") or {}
    before = {c["type"]: c for c in status.get("conditions") or []}
    generation = raw["metadata"].get("generation", 0)
    after = {kind: condition for kind, condition in before.items() if kind != RECONCILING}
    for kind, value in ((READY, "False"), (STALLED, "True")):
        old = before.get(kind) or {}
        changed = old.get("status") != value
        after[kind] = old | {
            "type": kind,
            "status": value,
            "reason": Reason.INVALID_CONFIGURATION,
            "message": message,
            "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ") if changed else old["lastTransitionTime"],
            "observedGeneration": generation,
        }
    if after == before:
        return None
    fields: Json = {"conditions": list(after.values()), "observedGeneration": generation}
    rerun = (raw.get("spec") or {}).get("rerun", "")
    if status.get("observedGeneration", -1) < 0 and isinstance(rerun, str):
        # From now on it counts as seen: a rerun is what is asked for after this.
        fields["observedRerun"] = rerun
    return {"metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]}, "status": fields}
