"""RunRecords in JSON files, one each, written once."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from trainmaster.adapters.local.state_dir import StateDir, write_atomic
from trainmaster.api.runrecord import RunRecord, RunRecordSpec, new_record
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.core.run.records import asks_for_earlier, earlier_success, unwritten

logger = logging.getLogger(__name__)


class RecordStore:
    """The records in a state directory."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def write(self, record: RunRecordSpec, *, namespace: str, now: datetime) -> None:
        """Write a record, unless there is one under its name. Raises StateDirError."""
        path = self._path(namespace, record.name)
        if path.exists():
            return
        made = new_record(record, namespace=namespace)
        metadata = made.metadata.model_copy(update={"creation_timestamp": now})
        write_atomic(path, json.dumps(made.model_copy(update={"metadata": metadata}).to_wire(), indent=1) + "\n")

    def written(self, run: TrainingRun) -> frozenset[str]:
        """The records that the run's decisions ask for and that are there."""
        names = unwritten(run.status)
        return frozenset(name for name in names if self._path(run.metadata.namespace, name).exists())

    def earlier(self, run: TrainingRun) -> RunRecordSpec | None:
        """The result that this run takes over, if it asks for one; a damaged record is no reason not to train."""
        if not asks_for_earlier(run):
            return None
        return earlier_success(run, self._all(run.metadata.namespace))

    def _all(self, namespace: str) -> Iterator[RunRecordSpec]:
        for path in sorted((self._state.records / namespace).glob("*.json")):
            try:
                yield RunRecord.model_validate_json(path.read_bytes(), extra="ignore").spec
            except (ValidationError, OSError) as error:
                logger.warning("%s is no readable RunRecord (%s); going on without it", path, error)

    def _path(self, namespace: str, name: str) -> Path:
        return self._state.records / namespace / f"{name}.json"
