"""The recorded objects in tests/gitops/recorded: what they are called, what of them is masked, what of them counts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from trainmaster.api.labels import UID_DIGITS

Wire = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "gitops" / "recorded"
UID = "11111111-2222-4333-8444-555555555555"
TIME = "2026-01-02T03:04:05Z"
SECONDS = "1767323045"
"""The same time in the names of decisions."""
NAMESPACE = "training"
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
_SECONDS = re.compile(r"(?<=-)1\d{9}\b")
_UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


def recorded(name: str) -> Wire:
    """A recorded object."""
    found: Wire = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return found


def write(name: str, wire: Wire) -> None:
    """Record an object, as `kubectl get -o yaml` prints it, with what no two recordings have in common masked."""
    text = yaml.safe_dump(masked(wire), sort_keys=True, width=110)
    (FOLDER / f"{name}.yaml").write_text(text)


def masked(wire: Wire) -> Wire:
    """The object with one time, one UID, one namespace; without what kubectl hides."""
    text = json.dumps(wire)
    for uid in set(_UID.findall(text)):
        digits = uid.replace("-", "")[:UID_DIGITS]
        text = text.replace(uid, UID).replace(f"-{digits}-", f"-{UID[:UID_DIGITS]}-")
    text = _SECONDS.sub(SECONDS, _TIME.sub(TIME, text)).replace(wire["metadata"]["namespace"], NAMESPACE)
    found: Wire = json.loads(text)
    found["metadata"].pop("managedFields", None)
    found["metadata"]["resourceVersion"] = "1"
    for part in (found.get("status", {}), found["spec"]):
        if "activeSeconds" in part:
            part["activeSeconds"] = 1
    return found


def essence(wire: Wire) -> Wire:
    """What GitOps tools look at: phase, generations, conditions; of a record, how the run ended."""
    if wire["kind"] == "RunRecord":
        return {"outcome": wire["spec"]["outcome"], "reason": wire["spec"]["reason"]}
    status = wire["status"]
    said = ("type", "status", "reason", "observedGeneration")
    return {
        "generation": wire["metadata"]["generation"],
        "observedGeneration": status["observedGeneration"],
        "phase": status.get("phase"),
        "conditions": [{name: each.get(name) for name in said} for each in status.get("conditions", [])],
    }
