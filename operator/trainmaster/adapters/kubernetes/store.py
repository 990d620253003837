"""What the watches have shown: runs as bytes, Jobs and pods as facts, all by the run that they belong to.

Runs are kept as JSON text: five thousand of them, healed ones, take 40 MB so, and ten times that as Python objects.
The parsed form of those in use is kept beside.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import orjson
from pydantic import ValidationError

from trainmaster.adapters.kubernetes.observed import JobFacts, PodFacts, job_facts, pod_facts
from trainmaster.adapters.kubernetes.records import RecordIndex
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus

Json = dict[str, Any]
Wake = Callable[[Key], None]
Gone = Callable[[str], None]
"""Told the UID of a run that is not there any more."""

PARSED: Final = 1000
"""Runs kept in parsed form: those that report, with room; one takes some 50 KB."""

REMEMBERED_DELETIONS: Final = 10_000
"""Deletions that happen while one request is on its way, many times over."""


class UnreadableRunError(TrainmasterError):
    """A stored TrainingRun is none that this version can read."""


def parse_run(raw: Json) -> TrainingRun:
    """A run as the API server has it; fields that a newer version knows are ignored in spec and kept in status.

    Raises:
        UnreadableRunError: With the field that does not fit.
    """
    try:
        # `extra` holds for all that is below; status is read without it: what is dropped there, the next write deletes.
        known = TrainingRun.model_validate(raw | {"status": {}}, extra="ignore")
        return known.model_copy(update={"status": TrainingRunStatus.model_validate(raw.get("status") or {})})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        part = ("status",) if error.title == TrainingRunStatus.__name__ else ()
        where = ".".join(str(name) for name in (*part, *first["loc"]))
        name = f"{raw['metadata'].get('namespace')}/{raw['metadata']['name']}"
        found = f"{name}: {where}: {first['msg']}; got {first['input']!r}"
        message = f"{found}: apply a manifest that `trainmaster validate` accepts"
        raise UnreadableRunError(message) from error


@dataclass(frozen=True, slots=True)
class _StoredRun:
    uid: str
    version: int
    raw: bytes
    moment: int
    """Of the store, when this was put."""


class Tombstones:
    """UIDs of objects that were deleted: a reply that was on its way meanwhile must not bring one back.

    A watch tells of a deletion once. A UID comes back only with a restored backup, and that only an answer can show: it
    is a newer truth than any deletion that was known when it was asked for.
    """

    def __init__(self) -> None:
        self._uids: OrderedDict[str, int] = OrderedDict()

    def knows(self, uid: str) -> bool:
        """Whether it was deleted, as far as is remembered."""
        return uid in self._uids

    def add(self, uid: str, *, moment: int = 0) -> None:
        """Take note of a deletion, told at a moment of the store."""
        self._uids[uid] = moment
        while len(self._uids) > REMEMBERED_DELETIONS:
            self._uids.popitem(last=False)

    def block(self, uid: str, *, asked: int | None) -> bool:
        """Whether an object is to be left out; one that was asked for after its deletion is there again."""
        if asked is not None and self._uids.get(uid, 0) <= asked:
            self._uids.pop(uid, None)
        return uid in self._uids


class RunStore:
    """TrainingRuns by key and by UID.

    Versions go back when a backup of the cluster is restored, and only an answer shows that: a watch goes on from the
    version it knows. But an answer may also be late: while it was on its way, a watch has told of something newer. So
    whoever asks takes the store's `moment` first, and hands it in with the answer: of a run that was put since then, an
    older version is a late one.
    """

    def __init__(self, wake: Wake, gone: Gone) -> None:
        self._wake = wake
        self._tell_gone = gone
        self._runs: dict[Key, _StoredRun] = {}
        self._keys: dict[str, Key] = {}
        self._parsed: OrderedDict[str, tuple[int, TrainingRun]] = OrderedDict()
        self._gone = Tombstones()
        self._moment = 0

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def moment(self) -> int:
        """Now, as the store counts: each change is one later than the change before."""
        return self._moment

    def keys(self) -> tuple[Key, ...]:
        """All runs."""
        return tuple(self._runs)

    def put(self, item: Json, *, asked: int | None = None) -> None:
        """Take a run.

        Args:
            item: The object.
            asked: The store's moment before it was asked for: it was listed, read, or answered to a write. None: a
                watch has told of it.
        """
        meta = item["metadata"]
        key, uid, version = Key(meta["namespace"], meta["name"]), meta["uid"], int(meta["resourceVersion"])
        known = self._runs.get(key)
        if self._gone.block(uid, asked=asked):
            return
        if known is not None and _is_old(
            version, known, same=known.uid == uid, listed=asked is not None and known.moment <= asked
        ):
            return
        self._moment += 1
        if known is not None and known.uid != uid:
            # Its name is another's now, so it is gone, although no watch has told of that.
            self._gone.add(known.uid, moment=self._moment)
            self.forget(key, uid=known.uid)
        meta.pop("managedFields", None)
        self._runs[key] = _StoredRun(uid, version, orjson.dumps(item), self._moment)
        self._keys[uid] = key
        self._wake(key)

    def remove(self, item: Json) -> None:
        """Forget a run that was deleted, if it is not another one by now."""
        meta = item["metadata"]
        self._moment += 1
        self._gone.add(meta["uid"], moment=self._moment)
        self.forget(Key(meta["namespace"], meta["name"]), uid=meta["uid"])

    def forget(self, key: Key, *, uid: str) -> None:
        """Forget a run, if the name still has this UID."""
        known = self._runs.get(key)
        if known is not None and known.uid == uid:
            del self._runs[key]
            self._keys.pop(uid, None)
            self._parsed.pop(uid, None)
            self._tell_gone(uid)
            self._wake(key)

    def is_gone(self, uid: str) -> bool:
        """Whether a watch has told that the run with this UID was deleted."""
        return self._gone.knows(uid)

    def retain(self, uids: frozenset[str], *, asked: int, namespace: str = "") -> None:
        """Forget all runs but these, which a complete list has shown, and those that were put since it was asked for.

        Args:
            uids: The runs of the list.
            asked: The store's moment before the list was begun.
            namespace: Of which the list was; empty: of all.
        """
        for key, stored in list(self._runs.items()):
            if stored.uid not in uids and stored.moment <= asked and namespace in {"", key.namespace}:
                self.forget(key, uid=stored.uid)

    def uid(self, key: Key) -> str | None:
        """UID of the run that has this name."""
        stored = self._runs.get(key)
        return stored.uid if stored is not None else None

    def get(self, key: Key) -> TrainingRun | None:
        """The newest known form of a run. Raises UnreadableRunError."""
        stored = self._runs.get(key)
        if stored is None:
            return None
        found = self._parsed.get(stored.uid)
        if found is None or found[0] != stored.version:
            found = stored.version, parse_run(orjson.loads(stored.raw))
            self._parsed[stored.uid] = found
        self._parsed.move_to_end(stored.uid)
        if found[1].status.completion_time is not None:
            # Most runs are over, and each is looked at once when the process starts: that must not fill it.
            del self._parsed[stored.uid]
        while len(self._parsed) > PARSED:
            self._parsed.popitem(last=False)
        return found[1]

    def raw(self, key: Key) -> Json | None:
        """The stored JSON of a run."""
        stored = self._runs.get(key)
        if stored is None:
            return None
        parsed: Json = orjson.loads(stored.raw)
        return parsed

    def find(self, uid: str) -> TrainingRun | None:
        """The newest known form of the run with this UID. Raises UnreadableRunError."""
        key = self._keys.get(uid)
        return self.get(key) if key is not None else None


class _Versioned(Protocol):
    @property
    def version(self) -> int: ...


def _is_old(version: int, known: _Versioned, *, listed: bool, same: bool = True) -> bool:
    """Whether a version says nothing new; what a list shows counts, for versions go back when a backup is restored."""
    return (same and version == known.version) or (version < known.version and not listed)


class Facts(Protocol):
    """What `FactStore` needs of what it keeps."""

    @property
    def namespace(self) -> str: ...  # noqa: D102 - as the API has it
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def uid(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def run_uid(self) -> str: ...  # noqa: D102
    @property
    def run_name(self) -> str: ...  # noqa: D102


F = TypeVar("F", bound=Facts)


class FactStore(Generic[F]):
    """Jobs, or pods, of all runs."""

    def __init__(self, *, reduce: Callable[[Json], F], wake: Wake) -> None:
        self._reduce = reduce
        self._wake = wake
        self._by_uid: dict[str, F] = {}
        self._by_run: dict[tuple[str, str], dict[str, F]] = {}
        """By namespace and UID of the run."""
        self._by_name: dict[Key, str] = {}
        self._gone = Tombstones()

    def put(self, item: Json, *, listed: bool) -> None:
        """Take an object."""
        facts = self._reduce(item)
        known = self._by_uid.get(facts.uid)
        if self._gone.block(facts.uid, asked=0 if listed else None):
            return
        if known is not None and _is_old(facts.version, known, listed=listed):
            return
        if known is not None and known.run_uid != facts.run_uid:
            # Its owner was changed, as `kubectl delete --cascade=orphan` does: both runs want to know.
            self._forget(facts.uid)
        self._by_uid[facts.uid] = facts
        self._by_run.setdefault((facts.namespace, facts.run_uid), {})[facts.uid] = facts
        self._by_name[Key(facts.namespace, facts.name)] = facts.uid
        # Most changes of a Job or a pod are of no interest: scheduled, ready, a heartbeat of its controller.
        if known != facts:
            self._tell(facts)

    def remove(self, item: Json) -> None:
        """Forget an object that was deleted."""
        self._gone.add(item["metadata"]["uid"])
        self._forget(item["metadata"]["uid"])

    def retain(self, uids: frozenset[str]) -> None:
        """Forget all but these."""
        for uid in [uid for uid in self._by_uid if uid not in uids]:
            self._forget(uid)

    def of_run(self, namespace: str, run_uid: str) -> tuple[F, ...]:
        """Those of one run, in its namespace: elsewhere anyone may write its UID on anything."""
        return tuple(self._by_run.get((namespace, run_uid), {}).values())

    def named(self, key: Key) -> F | None:
        """The one with this name."""
        uid = self._by_name.get(key)
        return self._by_uid.get(uid) if uid is not None else None

    def _forget(self, uid: str) -> None:
        facts = self._by_uid.pop(uid, None)
        if facts is None:
            return
        of_run = self._by_run[facts.namespace, facts.run_uid]
        del of_run[uid]
        if not of_run:
            del self._by_run[facts.namespace, facts.run_uid]
        name = Key(facts.namespace, facts.name)
        if self._by_name.get(name) == uid:
            del self._by_name[name]
        self._tell(facts)

    def _tell(self, facts: F) -> None:
        if facts.run_name:
            self._wake(Key(facts.namespace, facts.run_name))


@dataclass(frozen=True, slots=True)
class Stores:
    """All that the watches keep."""

    runs: RunStore
    jobs: FactStore[JobFacts]
    pods: FactStore[PodFacts]
    records: RecordIndex


def new_stores(wake: Wake, *, gone: Gone = lambda _: None) -> Stores:
    """Empty stores; `wake` is told the run that a change is about, `gone` the UID of a run that was deleted."""
    return Stores(
        runs=RunStore(wake, gone),
        jobs=FactStore(reduce=job_facts, wake=wake),
        pods=FactStore(reduce=pod_facts, wake=wake),
        records=RecordIndex(),
    )
