"""The differential oracle: a disturbed run must end like its undisturbed twin, by as many creates and deletes.

`trace` takes down the end state of a namespace, with everything masked that differs between two runs that went the same
way (UIDs, resource versions, times, the namespace's name), and counts the operator's creates and deletes by object.
`assert_same` compares two of them. What differs by right in a test is named in `ignore`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any, Protocol

from tests.support.fault_proxy.requests import Exchange
from trainmaster.api.labels import UID_DIGITS

Wire = dict[str, Any]

KINDS = "trainingruns.trainmaster.io,jobs.batch,runrecords.trainmaster.io"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
DECISION_ID = re.compile(r"\b([A-Z][A-Za-z]+-\d+-\d+)-\d{9,}(-\d+)?\b")
"""Kind, launch and plan stay; the second of taking is masked, and the number that tells two of one second."""
UID_IN_NAME = re.compile(rf"-[0-9a-f]{{{UID_DIGITS}}}(?=-\d+$)")
POD_SUFFIX = re.compile(r"(-<uid>-\d+)-[bcdfghjklmnpqrstvwxz2456789]{5}\b")
"""What the Job controller makes up for a pod's name; a Job's conditions name the pod that ended it."""
OF_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "managedFields")
"""Metadata that says when and by whom, never what."""


class Cluster(Protocol):
    """The part of a control plane that the oracle reads by."""

    def kubectl(self, *args: str) -> CompletedProcess[str]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """What a run left, and what it took."""

    objects: dict[str, Wire]
    """By kind and masked name."""
    counts: Counter[str]


def trace(cluster: Cluster, namespace: str, exchanges: Iterable[Exchange], *, ignore: Sequence[str] = ()) -> Trace:
    """The end state of a namespace now, and the creates and deletes in it. `ignore`: see `end_state`."""
    return Trace(
        objects=record(cluster, namespace, ignore=ignore),
        counts=counts(exchange for exchange in exchanges if exchange.request.namespace == namespace),
    )


def record(cluster: Cluster, namespace: str, *, ignore: Sequence[str] = ()) -> dict[str, Wire]:
    """TrainingRuns, Jobs and RunRecords of a namespace as they are now, masked."""
    listed = cluster.kubectl("get", KINDS, "--namespace", namespace, "--output", "json")
    return end_state(json.loads(listed.stdout)["items"], ignore=ignore)


def end_state(objects: Sequence[Wire], *, ignore: Sequence[str] = ()) -> dict[str, Wire]:
    """Objects without what differs between twins, by kind and masked name.

    `ignore` names fields that a test lets differ, as `TrainingRun.status.metrics`.
    """
    masks = Masks(objects)
    found: dict[str, Wire] = {}
    for item in objects:
        key = f"{item['kind']}/{masks.text(item['metadata']['name'])}"
        assert key not in found, f"two objects mask to {key}"
        found[key] = _without(masks.item(item), ignore=ignore)
    return found


def counts(exchanges: Iterable[Exchange]) -> Counter[str]:
    """Creates and deletes that the server took, by verb, resource and masked name; Events and Leases are none."""
    verbs = ("create", "delete", "deletecollection")
    done = [e for e in exchanges if e.write is not None and e.committed and e.request.verb in verbs]
    return Counter(_what(exchange) for exchange in done)


def assert_same(reference: Trace, disturbed: Trace) -> None:
    """Raise AssertionError with the differences, if there are any."""
    lines = [*_count_differences(reference.counts, disturbed.counts)]
    lines += difflib.unified_diff(
        _text(reference.objects), _text(disturbed.objects), "undisturbed", "disturbed", lineterm="", n=4
    )
    if lines:
        raise AssertionError("the disturbed run did not go like its twin:\n" + "\n".join(lines))


class Masks:
    """Masks for the objects of one namespace: a UID becomes the name of its object, wherever it stands."""

    def __init__(self, objects: Sequence[Wire]) -> None:
        self._namespaces = {item["metadata"]["namespace"] for item in objects if "namespace" in item["metadata"]}
        uids = {item["metadata"]["uid"]: item for item in objects if "uid" in item["metadata"]}
        self._short = {uid.replace("-", "")[:UID_DIGITS] for uid in uids}
        self._uids = {
            uid: f"<uid of {item['kind']} {self._shortened(item['metadata']['name'])}>" for uid, item in uids.items()
        }

    def text(self, text: str) -> str:
        """A text, masked."""
        for uid, symbol in self._uids.items():
            text = text.replace(uid, symbol)
        text = UUID.sub("<unknown uid>", text)
        for namespace in self._namespaces:
            text = re.sub(rf"\b{re.escape(namespace)}\b", "<namespace>", text)
        text = POD_SUFFIX.sub(r"\1-<pod>", self._shortened(text))
        return DECISION_ID.sub(r"\1-<second>", TIME.sub("<time>", text))

    def item(self, item: Wire) -> Wire:
        """An object, masked."""
        metadata = {name: value for name, value in item["metadata"].items() if name not in OF_THE_SERVER}
        masked = self._value({**item, "metadata": metadata})
        assert isinstance(masked, dict)
        if isinstance(masked.get("status"), dict):
            masked["status"] = _without_durations(masked["status"])
        return masked

    def _value(self, value: object) -> object:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(name): self._value(inner) for name, inner in value.items()}
            case list():
                items = [self._value(inner) for inner in value]
                keyed = [item for item in items if isinstance(item, dict) and {"type", "status"} <= item.keys()]
                return sorted(keyed, key=lambda item: str(item["type"])) if len(keyed) == len(items) else items
            case _:
                return value

    def _shortened(self, text: str) -> str:
        for short in self._short:
            text = re.sub(rf"(?<![0-9a-z]){short}(?![0-9a-z])", "<uid>", text)
        return text


def _without_durations(value: Any) -> Any:  # noqa: ANN401  # any part of a status
    """A status with its seconds masked: how long something took differs between twins."""
    if isinstance(value, list):
        return [_without_durations(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        name: "<seconds>" if name.endswith("Seconds") and isinstance(inner, int) else _without_durations(inner)
        for name, inner in value.items()
    }


def _without(item: Wire, *, ignore: Sequence[str]) -> Wire:
    for path in ignore:
        kind, *parents, last = path.split(".")
        place: Any = item
        for parent in parents:
            place = place.get(parent, {}) if isinstance(place, dict) else {}
        if kind == item["kind"] and isinstance(place, dict):
            place.pop(last, None)
    return item


def _what(exchange: Exchange) -> str:
    request = exchange.request
    given = exchange.reply.get("metadata", {}).get("name", "") if isinstance(exchange.reply, dict) else ""
    name = UID_IN_NAME.sub("-<uid>", request.name or given)
    return f"{request.verb} {request.resource} {'/'.join(part for part in (name, request.subresource) if part)}"


def _count_differences(reference: Counter[str], disturbed: Counter[str]) -> Iterable[str]:
    for what in sorted(reference.keys() | disturbed.keys()):
        if reference[what] != disturbed[what]:
            yield f"{what}: {reference[what]} times undisturbed, {disturbed[what]} times disturbed"


def _text(objects: dict[str, Wire]) -> list[str]:
    return json.dumps(objects, indent=1, sort_keys=True).splitlines()
