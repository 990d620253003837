"""kstatus' algorithm for custom resources (cli-utils, `pkg/kstatus/status`): what Flux and kpt make of an object."""

from __future__ import annotations

from typing import Any, Literal

KStatus = Literal["Terminating", "InProgress", "Failed", "Current"]


def kstatus(wire: dict[str, Any]) -> KStatus:
    """The status of an object, from its JSON form."""
    metadata, status = wire.get("metadata", {}), wire.get("status", {})
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata.get("generation"):
        return "InProgress"
    conditions = status.get("conditions", [])
    for condition in conditions:
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return "InProgress"
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return "Failed"
    for condition in conditions:
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"
