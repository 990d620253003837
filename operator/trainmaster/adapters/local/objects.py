"""TrainingRuns in JSON files, with an API server's rules: identity by UID, optimistic concurrency, immutability."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainmaster.adapters.local.state_dir import StateDir, StateDirError, write_atomic
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus
from trainmaster.api.transitions import is_untrained, judge_update
from trainmaster.ports.cluster import ConflictError

Wire = dict[str, Any]


class UpdateRefusedError(TrainmasterError):
    """The stored run does not allow this change."""


class ObjectStore:
    """One file per run; the process that holds a run's lock is its only writer.

    What is stored is raw JSON, and a write replaces only what it is about: fields of spec that a newer version wrote
    are unknown here, and stay.
    """

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def _path(self, key: Key) -> Path:
        return self._state.objects / key.namespace / f"{key.name}.json"

    def get(self, key: Key) -> TrainingRun | None:
        """The stored run, or None. Raises StateDirError on a file that is no run."""
        raw = self._read(key)
        return None if raw is None else self._parse(key, raw)

    def __iter__(self) -> Iterator[Key]:
        """Keys of all stored runs, in order of name."""
        for path in sorted(self._state.objects.glob("*/*.json")):
            yield Key(path.parent.name, path.stem)

    def judge(self, wanted: TrainingRun) -> None:
        """Raise UpdateRefusedError if `apply` would; nothing is written."""
        old = self.get(wanted.metadata.key)
        problems = () if old is None or is_untrained(old.status) else judge_update(old.spec, wanted.spec)
        if problems:
            found = "; ".join(f"{problem.path} {problem.message}" for problem in problems)
            message = f"{wanted.metadata.key}: {found}"
            raise UpdateRefusedError(message)

    def apply(self, wanted: TrainingRun, *, now: datetime) -> TrainingRun:
        """Create the run or update its spec, labels and annotations, as `kubectl apply` would.

        Raises:
            UpdateRefusedError: The update changes what was trained under this name.
        """
        self.judge(wanted)
        key = wanted.metadata.key
        raw, old = self._read(key), self.get(key)
        if raw is None or old is None:
            identity: dict[str, object] = {
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "resource_version": "1",
                "creation_timestamp": now,
            }
            metadata = wanted.metadata.model_copy(update=identity)
            created = wanted.model_copy(update={"metadata": metadata, "status": TrainingRunStatus()})
            return self._write(key, created.to_wire())
        changed = _about(wanted, old=old)
        if not changed:
            return old
        meta = raw["metadata"] | changed.pop("metadata", {}) | {"resourceVersion": _next_version(old)}
        if changed:
            meta["generation"] = old.metadata.generation + 1
        return self._write(key, raw | changed | {"metadata": meta})

    def write_status(self, run: TrainingRun, status: TrainingRunStatus) -> TrainingRun:
        """Write a whole status. Raises ConflictError when `run` is not what is stored."""
        key = run.metadata.key
        raw = self._read(key)
        stored = None if raw is None else self._parse(key, raw).metadata
        if (
            raw is None
            or stored is None
            or (stored.uid, stored.resource_version) != (run.metadata.uid, run.metadata.resource_version)
        ):
            message = f"{key} has changed since version {run.metadata.resource_version}"
            raise ConflictError(message)
        metadata = raw["metadata"] | {"resourceVersion": _next_version(run)}
        return self._write(key, raw | {"metadata": metadata, "status": status.to_wire()})

    def _read(self, key: Key) -> Wire | None:
        path = self._path(key)
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise _unreadable(path, error) from error
        if not isinstance(raw, dict):
            raise _unreadable(path, "no object in it")
        return raw

    def _parse(self, key: Key, raw: Wire) -> TrainingRun:
        try:
            # It was judged when it came in; what a newer version wrote into it must not stop this one. Only the spec
            # is read so: unknown items of status are carried along by the models.
            known = TrainingRun.model_validate(raw, extra="ignore")
            return known.model_copy(update={"status": TrainingRunStatus.model_validate(raw.get("status", {}))})
        except ValidationError as error:
            raise _unreadable(self._path(key), error) from error

    def _write(self, key: Key, raw: Wire) -> TrainingRun:
        fresh = self._parse(key, raw)
        write_atomic(self._path(key), json.dumps(raw, indent=1) + "\n")
        return fresh


def _about(wanted: TrainingRun, *, old: TrainingRun) -> dict[str, Any]:
    """The parts of the object that an apply replaces, where they differ."""
    changed: dict[str, Any] = {}
    if wanted.spec.to_wire() != old.spec.to_wire():
        changed["spec"] = wanted.spec.to_wire()
    told: Mapping[str, Any] = wanted.metadata.to_wire()
    kept: Mapping[str, Any] = old.metadata.to_wire()
    meta = {name: told[name] for name in ("labels", "annotations") if told[name] != kept[name]}
    return changed | ({"metadata": meta} if meta else {})


def _next_version(run: TrainingRun) -> str:
    return str(int(run.metadata.resource_version or "0") + 1)


def _unreadable(path: Path, reason: object) -> StateDirError:
    return StateDirError(f"{path} is no readable TrainingRun ({reason}); move it away to start afresh")
