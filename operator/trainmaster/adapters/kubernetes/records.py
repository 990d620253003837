"""Which RunRecords there are: their names and what they are about; the records themselves stay in the API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainmaster.api.conditions import Phase
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun, spec_hash

Json = dict[str, Any]
Subject = tuple[str, str, str]
"""Namespace, name of the run, hash of its spec."""


@dataclass(frozen=True, slots=True)
class _Known:
    key: Key
    subject: Subject


class RecordIndex:
    """RunRecords by name, and the successful ones by what was trained. A cache of a `Reflector`."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._names: dict[Key, str] = {}
        """UID of the newest record of each name."""
        self._successes: dict[Subject, set[str]] = {}
        """UIDs of successful records."""

    def put(self, item: Json, *, listed: bool = False) -> None:  # noqa: ARG002 - a record never changes
        """Take note of a record."""
        meta, spec = item["metadata"], item["spec"]
        key = Key(meta["namespace"], meta["name"])
        subject = (key.namespace, str(spec.get("runName")), str(spec.get("specHash")))
        self._known[meta["uid"]] = _Known(key, subject)
        self._names[key] = meta["uid"]
        if spec.get("outcome") == Phase.SUCCEEDED:
            self._successes.setdefault(subject, set()).add(meta["uid"])

    def remove(self, item: Json) -> None:
        """Forget a record that was deleted."""
        self._forget(item["metadata"]["uid"])

    def retain(self, uids: frozenset[str]) -> None:
        """Forget all records but these."""
        for uid in [uid for uid in self._known if uid not in uids]:
            self._forget(uid)

    def there(self, namespace: str, names: frozenset[str]) -> frozenset[str]:
        """Those of these names under which there is a record."""
        return frozenset(name for name in names if Key(namespace, name) in self._names)

    def successes(self, run: TrainingRun) -> tuple[Key, ...]:
        """Records of successes with this run's name and spec."""
        subject = (run.metadata.namespace, run.metadata.name, spec_hash(run))
        return tuple(sorted({self._known[uid].key for uid in self._successes.get(subject, ())}))

    def _forget(self, uid: str) -> None:
        known = self._known.pop(uid, None)
        if known is None:
            return
        if self._names.get(known.key) == uid:
            del self._names[known.key]
        successes = self._successes.get(known.subject, set())
        successes.discard(uid)
        if not successes:
            self._successes.pop(known.subject, None)
