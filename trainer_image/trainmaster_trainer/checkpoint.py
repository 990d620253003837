"""Checkpoints that are whole or not there.

A checkpoint is a file and a manifest beside it: `<root>/<launch>/step-000000123-epoch-0004.pt` and `.json`. The file is
written under a temporary name, flushed to the disk and renamed; then the manifest, the same way: it is the commit
record. It holds the file's hash, and a hash of itself. A launch writes and deletes in its own folder only and reads
all folders up to its own.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle  # for the name of the error that torch.load raises; nothing is unpickled with it
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainmaster_trainer.errors import ConfigurationError, StorageError, TrainerError
from trainmaster_trainer.manifest import Manifest, ManifestError
from trainmaster_trainer.state import FORMAT, Captured

log = logging.getLogger(__name__)

TEMPORARY = ".tmp"


class CheckpointError(TrainerError):
    """A checkpoint could not be written; the ones before it are untouched."""


class CheckpointStore:
    """The checkpoints of one rerun, seen from one launch."""

    def __init__(self, root: Path, *, launch: int, keep_last: int, keep_best: int) -> None:
        self._root = root
        self._launch = launch
        self._folder = root / str(launch)
        self._keep_last = keep_last
        self._keep_best = keep_best

    def save(self, captured: Captured, *, val_loss: float | None, best: bool) -> Manifest:
        """Write a checkpoint, then delete those of this launch that need not be kept.

        `val_loss` is that of the epoch that just ended, None in the middle of one. Raises CheckpointError, with the
        checkpoints before it untouched, when the disk is full or fails.
        """
        step, epoch = captured["step"], captured["epoch"]
        name = f"step-{step:09d}-epoch-{epoch:04d}.pt"
        # In memory first: torch's own writer answers a full disk with an abort that names no cause.
        buffer = io.BytesIO()
        torch.save(captured, buffer)
        content = buffer.getvalue()
        manifest = Manifest(
            path=f"{self._launch}/{name}",
            step=step,
            epoch=epoch,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            val_loss=val_loss,
            best=best,
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._root / manifest.path, content)
            write_atomically(self._record_of(manifest), manifest.to_json())
        except OSError as error:
            message = f"checkpoint {manifest.path} ({len(content)} bytes) was not written: {error.strerror or error}"
            raise CheckpointError(message) from error
        self._retain(manifest)
        return manifest

    def newest(self) -> tuple[Manifest, Captured] | None:
        """The newest valid checkpoint of this launch and all before it; None if there is none.

        One that is damaged is passed over with a warning that names it. Raises StorageError if the folders cannot be
        listed, ConfigurationError if the newest was written by a newer version.
        """
        for manifest in sorted(self._manifests(), key=Manifest.age, reverse=True):
            captured = self._load(manifest)
            if captured is not None:
                return manifest, captured
        return None

    def clean(self) -> None:
        """Remove what a crash in the middle of a save left in this launch's folder."""
        for leftover in self._folder.glob(f"*{TEMPORARY}"):
            _delete(leftover)

    def _record_of(self, manifest: Manifest) -> Path:
        return (self._root / manifest.path).with_suffix(".json")

    def _manifests(self) -> Iterator[Manifest]:
        try:
            launches = [f for f in self._root.iterdir() if f.name.isdecimal() and int(f.name) <= self._launch]
            records = [record for folder in launches for record in _records(folder)]
        except FileNotFoundError:
            return
        except OSError as error:
            message = f"checkpoints in {self._root} cannot be listed: {error.strerror}"
            raise StorageError(message) from error
        for record in records:
            manifest = _read_manifest(record, level=logging.WARNING)
            if manifest is not None:
                yield manifest

    def _load(self, manifest: Manifest) -> Captured | None:
        path = self._root / manifest.path
        try:
            captured = read_verified(path, manifest)
        except (OSError, ManifestError) as error:
            log.warning("checkpoint %s is passed over, the one before it is taken: %s", path, error)
            return None
        if captured.get("format") != FORMAT:
            message = (
                f"checkpoint {path} has format {captured.get('format')}, this trainer reads format {FORMAT}: "
                "use the trainer image that wrote it, or train again with another spec.rerun"
            )
            raise ConfigurationError(message)
        return captured

    def _retain(self, saved: Manifest) -> None:
        """Delete old checkpoints of this launch: all but the newest `keep_last` and the best `keep_best`.

        Those that lie after `saved` in training are damaged, or training would have continued from them: they count
        for nothing and are written again when training comes there.
        """
        try:
            found = [_read_manifest(record, level=logging.DEBUG) for record in _records(self._folder)]
        except OSError as error:
            log.warning("old checkpoints in %s are kept, they cannot be listed: %s", self._folder, error)
            return
        own = [m for m in found if m is not None and m.age() <= saved.age()]
        newest = sorted(own, key=Manifest.age)[-self._keep_last :]
        judged = sorted((m for m in own if m.val_loss is not None), key=Manifest.quality)
        kept = {m.path for m in (saved, *newest, *judged[: self._keep_best])}
        for manifest in own:
            if manifest.path not in kept:
                # The commit record first: a manifest without a file would look like damage.
                _delete(self._record_of(manifest))
                _delete(self._root / manifest.path)


def _records(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.name.startswith("step-") and entry.suffix == ".json"]


def _read_manifest(record: Path, *, level: int) -> Manifest | None:
    try:
        return Manifest.from_json(record.read_bytes(), folder=record.parent.name)
    except (OSError, ManifestError) as error:
        log.log(level, "checkpoint manifest %s is passed over: %s", record, error)
        return None


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s is no longer needed, but cannot be deleted: %s", path, error)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one; no temporary file stays after an OSError."""
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_verified(path: Path, manifest: Manifest) -> Captured:
    """The state in a checkpoint file. Raises ManifestError if it is not the file that the manifest speaks of."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.sha256:
        message = (
            f"its hash is {digest[:12]}..., the manifest says {manifest.sha256[:12]}... "
            f"({len(content)} bytes, the manifest says {manifest.size_bytes})"
        )
        raise ManifestError(message)
    try:
        captured: Captured = torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        message = f"torch cannot read it: {error}"
        raise ManifestError(message) from error
    return captured


def final_state_digest(path: Path) -> str:
    """SHA-256 over all tensors of a checkpoint file, by name: two runs with the same one are equal bit for bit."""
    captured = torch.load(path, weights_only=True)
    digest = hashlib.sha256()
    for name, tensor in sorted(_tensors(captured, "")):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401  # a captured state is a tree of anything
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{name}/{index}")
