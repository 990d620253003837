"""What the status of a pod says in words: why it does not run, who took it, how its container ended."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from trainmaster.api.conditions import POD_DELETED
from trainmaster.core.snapshot import Told

Json = dict[str, Any]

ON_THE_WAY: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Kubelet's reasons of a container that is about to start."""
SAYS_NOTHING: Final = frozenset({"", "Completed", "Error"})
"""Reasons of an end that say no more than its exit code."""
DISRUPTION_TARGET: Final = "DisruptionTarget"


def waiting(status: Json, container: str) -> Told | None:
    """Why a pod does not run; None where it does, or is about to. `container` is the one of the run's image."""
    if status.get("phase") not in {None, "", "Pending"}:
        return None
    scheduled = _condition(status, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return Told(reason=scheduled.get("reason") or "Unschedulable", message=scheduled.get("message") or "")
    for each in (*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])):
        state: Json = (each.get("state") or {}).get("waiting") or {}
        if state.get("reason", "") not in ON_THE_WAY:
            words = state.get("message") or ""
            return Told(reason=state["reason"], message=words, of_run=each.get("name") == container)
    return None


def disruption(status: Json) -> Told | None:
    """Who took a pod, or did not take it; None where nobody did.

    The pod's own message, if there is one, says more than the condition's.
    """
    condition = _condition(status, DISRUPTION_TARGET)
    if condition is None or condition.get("status") != "True":
        return _rejection(status)
    return Told(
        reason=condition.get("reason") or DISRUPTION_TARGET,
        message=status.get("message") or condition.get("message") or "",
    )


def deletion(meta: Json, ended: Json) -> Told | None:
    """That somebody deleted a pod before its container ended; None where nobody did, or only afterwards.

    A deletion that is hurried keeps the moment of the request: the server takes the old grace period off and adds the
    new one.
    """
    due, finished = meta.get("deletionTimestamp"), ended.get("finishedAt")
    if not due or not finished:
        return None
    grace = timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)
    if datetime.fromisoformat(finished) < datetime.fromisoformat(due) - grace:
        return None
    return Told(reason=POD_DELETED, message="somebody deleted it, or its namespace")


def _rejection(status: Json) -> Told | None:
    """Why a node that was given the pod did not take it: no room after all, no such device, a shutdown."""
    if _ended(status, "containerStatuses") or status.get("phase") != "Failed" or not status.get("reason"):
        return None
    return Told(reason=status["reason"], message=status.get("message") or "")


def end_reason(status: Json, container: str) -> str:
    """The word for a container's end, where it says more than the exit code; empty while it lives."""
    ended = _ended(status, "containerStatuses").get(container)
    if ended is not None:
        return "" if ended.get("reason", "") in SAYS_NOTHING else str(ended["reason"])
    if status.get("phase") != "Failed":
        return ""
    for name, first in _ended(status, "initContainerStatuses").items():
        if first.get("exitCode"):
            return f"init container {name} ended with exit code {first['exitCode']}"
    return str(status.get("reason") or "")


def _ended(status: Json, field: str) -> dict[str, Json]:
    """How the containers ended that have, by name."""
    states = {each.get("name", ""): each.get("state") or {} for each in status.get(field) or []}
    return {name: state["terminated"] for name, state in states.items() if state.get("terminated")}


def _condition(status: Json, kind: str) -> Json | None:
    conditions: list[Json] = status.get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), None)
