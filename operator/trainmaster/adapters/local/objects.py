"""TrainingRuns in JSON files, with an API server's rules: identity by UID, optimistic concurrency, immutability."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainmaster.adapters.local.state_dir import StateDir, StateDirError, write_atomic
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun, TrainingRunSpec, TrainingRunStatus
from trainmaster.api.transitions import judge_update
from trainmaster.ports.cluster import ConflictError


class UpdateRefusedError(TrainmasterError):
    """The stored run does not allow this change."""


class ObjectStore:
    """One file per run; the process that holds a run's lock is its only writer."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def _path(self, key: Key) -> Path:
        return self._state.objects / key.namespace / f"{key.name}.json"

    def get(self, key: Key) -> TrainingRun | None:
        """The stored run, or None. Raises StateDirError on a file that is no run."""
        path = self._path(key)
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            # It was judged when it came in; what a newer version wrote into it must not stop this one.
            return TrainingRun.model_validate(_known_spec(raw))
        except FileNotFoundError:
            return None
        except (ValueError, ValidationError, OSError) as error:
            message = f"{path} is no readable TrainingRun ({error}); move it away to start afresh"
            raise StateDirError(message) from error

    def keys(self) -> Iterator[Key]:
        """All stored runs, in order of name."""
        for path in sorted(self._state.objects.glob("*/*.json")):
            yield Key(path.parent.name, path.stem)

    def apply(self, wanted: TrainingRun, *, now: datetime) -> TrainingRun:
        """Create the run or update its spec, as `kubectl apply` would. Raises UpdateRefusedError."""
        old = self.get(wanted.metadata.key)
        if old is None:
            created: dict[str, object] = {
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "resource_version": "1",
                "creation_timestamp": now,
            }
            return self._write(wanted, metadata=created, status=TrainingRunStatus())
        problems = judge_update(old.spec, wanted.spec)
        if problems:
            found = "; ".join(f"{problem.path} {problem.message}" for problem in problems)
            message = f"{wanted.metadata.key}: {found}"
            raise UpdateRefusedError(message)
        if old.spec == wanted.spec:
            return old
        changed: dict[str, object] = {
            "uid": old.metadata.uid,
            "creation_timestamp": old.metadata.creation_timestamp,
            "generation": old.metadata.generation + 1,
            "resource_version": _next_version(old),
        }
        return self._write(wanted, metadata=changed, status=old.status)

    def write_status(self, run: TrainingRun, status: TrainingRunStatus) -> TrainingRun:
        """Write a whole status. Raises ConflictError when `run` is not what is stored."""
        stored = self.get(run.metadata.key)
        if (
            stored is None
            or stored.metadata.uid != run.metadata.uid
            or stored.metadata.resource_version != run.metadata.resource_version
        ):
            message = f"{run.metadata.key} has changed since version {run.metadata.resource_version}"
            raise ConflictError(message)
        return self._write(run, metadata={"resource_version": _next_version(run)}, status=status)

    def _write(self, run: TrainingRun, *, metadata: dict[str, object], status: TrainingRunStatus) -> TrainingRun:
        fresh = run.model_copy(update={"metadata": run.metadata.model_copy(update=metadata), "status": status})
        write_atomic(self._path(run.metadata.key), json.dumps(fresh.to_wire(), indent=1) + "\n")
        return fresh


def _next_version(run: TrainingRun) -> str:
    return str(int(run.metadata.resource_version or "0") + 1)


def _known_spec(raw: dict[str, Any]) -> dict[str, Any]:
    spec = TrainingRunSpec.model_validate(raw["spec"], extra="ignore")
    return raw | {"spec": spec.to_wire()}
