"""When checkpoints are written, and what becomes of those that fail.

A save on the way is asynchronous: it is announced once it is durable, and one that fails is told and forgotten, since
training goes on and the checkpoint before it stays good. A save at the end waits: the trained model is in it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Final

from trainmaster_trainer.checkpoint import CheckpointError, CheckpointStore
from trainmaster_trainer.evaluation.report import Artifact
from trainmaster_trainer.manifest import Manifest
from trainmaster_trainer.reporting import Session
from trainmaster_trainer.saver import AsyncSaver
from trainmaster_trainer.state import TrainingState

log = logging.getLogger(__name__)

LAST_TRIES: Final = 5
LAST_PAUSE_SECONDS: Final = 1.0
"""A disk that is full for a moment frees itself within seconds; one that stays full is a person's business."""

Place = tuple[int, int, str | None, tuple[str, ...]]

_NO_METRICS: Final[Mapping[str, float]] = {}


class Checkpointing:
    """The checkpoints of one engine; only the rank that leads writes any."""

    def __init__(self, store: CheckpointStore, *, session: Session, fingerprint: str, leads: bool) -> None:
        self._store = store
        self._saver = AsyncSaver(store)
        self._session = session
        self._fingerprint = fingerprint
        self._leads = leads
        self._saved: Place | None = None
        self.failures = 0

    def continue_from(self, manifest: Manifest, state: TrainingState) -> None:
        """Take a checkpoint for saved, and announce it again: a crash can fall between the two."""
        self._saved = self._place(state)
        self._announce(manifest)

    def save(self, state: TrainingState, *, metrics: Mapping[str, float] = _NO_METRICS, best: bool = False) -> None:
        """Copy the state and write it beside training, unless this very place is saved."""
        here = self._place(state)
        if not self._leads or here == self._saved:
            return
        if not metrics and state.history and state.history[-1].step == state.step:
            metrics = state.history[-1].metrics  # a directive at the end of an epoch: its checkpoint is written anew
        val_loss = metrics.get("val_loss", math.nan)
        self._saver.submit(
            state.capture(applied=self._session.applied_directives, fingerprint=self._fingerprint),
            val_loss=val_loss if math.isfinite(val_loss) else None,
            best=best,
            clean_steps=state.clean_steps,
            metrics=metrics,
        )
        self._saved = here

    def collect(self) -> None:
        """Announce what has been written meanwhile; does not wait."""
        while True:
            try:
                manifests = self._saver.poll()
            except CheckpointError as error:
                self._failed(error)
                continue
            for manifest in manifests:
                self._announce(manifest)
            if not manifests:
                return

    def save_now(self, state: TrainingState) -> None:
        """Write the state in this thread, unless this very place is saved; a failure is told."""
        self._saver.drain()
        self.collect()
        here = self._place(state)
        if not self._leads or here == self._saved:
            return
        captured = state.capture(applied=self._session.applied_directives, fingerprint=self._fingerprint)
        try:
            manifest = self._saver.save_now(captured, clean_steps=state.clean_steps)
        except CheckpointError as error:
            self._failed(error)
            return
        self._saved = here
        self._announce(manifest)

    def keep_last(self, state: TrainingState) -> None:
        """Write the last checkpoint, which holds the model: no success without it. Raises CheckpointError."""
        for _ in range(LAST_TRIES):
            self.save_now(state)
            if not self._leads or self._saved == self._place(state):
                return
            time.sleep(LAST_PAUSE_SECONDS)
        message = (
            f"the last checkpoint, of step {state.step}, cannot be written: the trained model would be lost; free "
            "space where the checkpoints are"
        )
        raise CheckpointError(message)

    def keep_artifacts(self, artifacts: Sequence[Artifact]) -> None:
        """Write files beside the checkpoints; one that cannot be written is told, the model is as good without it."""
        for artifact in artifacts if self._leads else ():
            try:
                self._store.keep(artifact.name, artifact.content)
            except OSError as error:
                log.warning("%s is not kept: %s", artifact.name, error)

    def close(self) -> None:
        """Wait for what is under way."""
        self._saver.close()

    def _place(self, state: TrainingState) -> Place:
        """What makes a checkpoint another one: where training is, and what it was told there."""
        return state.step, state.epoch, state.stopped, tuple(self._session.applied_directives)

    def _failed(self, error: CheckpointError) -> None:
        self.failures += 1
        if not self._saver.pending:
            self._saved = None
        log.warning("%s; training goes on, the checkpoint before it stays good", error)
        self._session.storage_failed(str(error))

    def _announce(self, manifest: Manifest) -> None:
        self._session.checkpoint(
            path=manifest.path,
            step=manifest.step,
            epoch=manifest.epoch,
            sha256=manifest.sha256,
            size_bytes=manifest.size_bytes,
            clean_steps=manifest.clean_steps,
            finite=manifest.finite,
            applied=list(manifest.applied),
            metrics=manifest.metrics,
            signature=manifest.signature,
        )
