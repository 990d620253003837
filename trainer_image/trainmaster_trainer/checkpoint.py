"""Checkpoints that are whole or not there.

A checkpoint is a file and a manifest beside it: `<root>/<launch>/step-000000123-epoch-0004.pt` and `.json`. The file is
written first, durably; then the manifest, the same way: it is the commit record. It holds the file's hash, and a hash
of itself. A launch writes and deletes in its own folder only and reads all folders up to its own. Where the folders lie
is a `storage.Storage`: a folder or a prefix in an object store.

Not every checkpoint is one to go back to: the newest may hold what went wrong. A manifest says how many clean steps lie
behind it and whether all numbers in it are finite; `newest_healthy` takes the newest that is known to be good.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle  # for the name of the error that torch.load raises; nothing is unpickled with it
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import torch

from trainmaster_trainer.errors import ConfigurationError, StorageError, TrainerError
from trainmaster_trainer.manifest import Manifest, ManifestError, finite_metrics, finite_or_none
from trainmaster_trainer.signature import finite_flags, model_signature, tensors
from trainmaster_trainer.state import FORMAT, Captured
from trainmaster_trainer.storage import TEMPORARY, FolderStorage, Storage, UnavailableError

log = logging.getLogger(__name__)

HEALTHY_STEPS: Final = 100
"""Clean steps behind a checkpoint that may be gone back to. Adam's first moment forgets a bad gradient within some 20
steps, and what a bad step did shows in the loss within some dozens; an epoch of a small data set has more than 100."""
_CODE: Final = re.compile(r"GLOBAL ([\w.]+)")
"""Where torch names the object that a pickle asks for."""

_NO_METRICS: Final[Mapping[str, float]] = {}


class CheckpointError(TrainerError):
    """A checkpoint could not be written; the ones before it are untouched."""


class CheckpointStore:
    """The checkpoints of one rerun, seen from one launch. Not for two threads at a time."""

    def __init__(
        self, root: Path | Storage, *, launch: int, keep_last: int, keep_best: int, healthy_steps: int = HEALTHY_STEPS
    ) -> None:
        self._storage: Storage = FolderStorage(root) if isinstance(root, Path) else root
        self._launch = launch
        self._folder = str(launch)
        self._keep_last = keep_last
        self._keep_best = keep_best
        self._healthy_steps = healthy_steps

    def save(
        self,
        captured: Captured,
        *,
        val_loss: float | None = None,
        best: bool = False,
        clean_steps: int | None = None,
        metrics: Mapping[str, float] = _NO_METRICS,
        finite: bool | None = None,
    ) -> Manifest:
        """Write a checkpoint, then delete those of this launch that need not be kept.

        `val_loss` and `metrics` are those of the epoch that just ended, absent in the middle of one; `clean_steps` the
        steps since the last skipped or emergency step. `finite` is looked up here if it is not given. Raises
        CheckpointError, with the checkpoints before it untouched, when the storage is full or fails.
        """
        step, epoch = captured["step"], captured["epoch"]
        name = f"step-{step:09d}-epoch-{epoch:04d}.pt"
        # In memory first: torch's own writer answers a full disk with an abort that names no cause.
        buffer = io.BytesIO()
        torch.save(captured, buffer)
        content = buffer.getbuffer()
        manifest = Manifest(
            path=f"{self._folder}/{name}",
            step=step,
            epoch=epoch,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            val_loss=finite_or_none(val_loss),
            best=best,
            clean_steps=clean_steps,
            finite=is_finite(captured) if finite is None else finite,
            applied=dict(captured["applied"]),
            metrics=finite_metrics(metrics),
            signature=model_signature(captured["model"]),
        )
        self._commit(manifest, content)
        self._retain(manifest)
        return manifest

    def newest(self) -> tuple[Manifest, Captured] | None:
        """The newest valid checkpoint of this launch and all before it; None if there is none.

        One that is damaged is passed over with a warning that names it. Raises StorageError if the folders cannot be
        listed or the store does not answer, ConfigurationError if the newest was written by a newer version.
        """
        return self._newest(lambda _manifest: True)

    def newest_healthy(self, before_step: int | None = None) -> tuple[Manifest, Captured] | None:
        """The newest valid checkpoint that is known to be good; None if there is none.

        Known to be good: all numbers finite, and `healthy_steps` clean steps behind it. `before_step` is the first step
        (counted from 0) of what went wrong: only checkpoints of at most so many steps done hold nothing of it. Raises
        as `newest`.
        """
        return self._newest(
            lambda manifest: (
                manifest.healthy(window=self._healthy_steps) and (before_step is None or manifest.step <= before_step)
            )
        )

    def keep(self, name: str, content: bytes) -> None:
        """Write a file about the model into this launch's folder; no checkpoint. Raises OSError."""
        self._storage.write(f"{self._folder}/{name}", content)

    def clean(self) -> None:
        """Remove what a crash in the middle of a save left in this launch's folder."""
        try:
            leftovers = [name for name in self._storage.list(self._folder) if name.endswith(TEMPORARY)]
        except OSError as error:
            log.warning("files half written in %s stay there: %s", self._where(self._folder), error)
            return
        for name in leftovers:
            self._delete(f"{self._folder}/{name}")

    def _commit(self, manifest: Manifest, content: memoryview) -> None:
        try:
            self._storage.write(manifest.path, content)
            self._storage.write(_record_of(manifest), manifest.to_json())
        except OSError as error:
            message = (
                f"checkpoint {manifest.path} ({manifest.size_bytes} bytes) was not written: {error.strerror or error}"
            )
            raise CheckpointError(message) from error

    def _newest(self, wanted: Callable[[Manifest], bool]) -> tuple[Manifest, Captured] | None:
        candidates = [manifest for manifest in self._manifests() if wanted(manifest)]
        for manifest in sorted(candidates, key=Manifest.age, reverse=True):
            captured = self._load(manifest)
            if captured is not None:
                return manifest, captured
        return None

    def _manifests(self) -> Iterator[Manifest]:
        try:
            launches = [n for n in self._storage.list() if n.isdecimal() and int(n) <= self._launch]
            records = [record for launch in launches for record in self._records(launch)]
        except OSError as error:
            message = f"checkpoints in {self._storage.address} cannot be listed: {error.strerror or error}"
            raise StorageError(message) from error
        for record in records:
            try:
                manifest = self._read_manifest(record, level=logging.WARNING)
            except UnavailableError as error:
                raise self._unavailable(record, error) from error
            if manifest is not None:
                yield manifest

    def _records(self, launch: str) -> list[str]:
        names = self._storage.list(launch)
        return [f"{launch}/{name}" for name in names if name.startswith("step-") and name.endswith(".json")]

    def _read_manifest(self, record: str, *, level: int) -> Manifest | None:
        try:
            return Manifest.from_json(self._storage.read(record), folder=record.partition("/")[0])
        except UnavailableError:
            raise
        except (OSError, ManifestError) as error:
            log.log(level, "checkpoint manifest %s is passed over: %s", self._where(record), error)
            return None

    def _load(self, manifest: Manifest) -> Captured | None:
        path = self._where(manifest.path)
        try:
            captured = read_verified(self._storage.read(manifest.path), manifest)
        except UnavailableError as error:
            raise self._unavailable(manifest.path, error) from error
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
        """Delete old checkpoints of this launch: the newest `keep_last`, best `keep_best` and last healthy stay.

        Those that lie after `saved` in training are damaged, or training would have continued from them: they count
        for nothing and are written again when training comes there.
        """
        try:
            found = [self._read_manifest(record, level=logging.DEBUG) for record in self._records(self._folder)]
        except OSError as error:
            log.warning("old checkpoints in %s are kept, they cannot be listed: %s", self._where(self._folder), error)
            return
        own = sorted((m for m in found if m is not None and m.age() <= saved.age()), key=Manifest.age)
        judged = sorted((m for m in own if m.val_loss is not None), key=Manifest.quality)
        healthy = [m for m in own if m.healthy(window=self._healthy_steps)]
        kept = {m.path for m in (saved, *own[-self._keep_last :], *judged[: self._keep_best], *healthy[-1:])}
        for manifest in own:
            if manifest.path not in kept:
                # The commit record first: a manifest without a file would look like damage.
                self._delete(_record_of(manifest))
                self._delete(manifest.path)

    def _delete(self, name: str) -> None:
        try:
            self._storage.delete(name)
        except OSError as error:
            log.warning("%s is no longer needed, but cannot be deleted: %s", self._where(name), error)

    def _where(self, name: str) -> str:
        return f"{self._storage.address}/{name}"

    def _unavailable(self, name: str, error: UnavailableError) -> StorageError:
        return StorageError(f"checkpoint {self._where(name)} cannot be read now, so nobody knows its worth: {error}")


def is_finite(captured: Captured) -> bool:
    """Whether all weights and moments of a captured state are finite; reads one number back from each device."""
    return all(bool(flag) for flag in finite_flags([captured["model"], captured["optimizer"]]))


def _record_of(manifest: Manifest) -> str:
    return manifest.path.removesuffix(".pt") + ".json"


def read_verified(content: bytes, manifest: Manifest) -> Captured:
    """The state in a checkpoint file. Raises ManifestError if it is not the file that the manifest speaks of."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.sha256:
        message = (
            f"its hash is {digest[:12]}..., the manifest says {manifest.sha256[:12]}... "
            f"({len(content)} bytes, the manifest says {manifest.size_bytes})"
        )
        raise ManifestError(message)
    try:
        captured: object = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError) as error:
        # Only the name: torch's own message goes on to advise loading it with code and all.
        asked = _CODE.search(str(error))
        message = (
            f"it asks to run {asked[1]}; a checkpoint is tensors, numbers and text, and nothing else of it is loaded"
            if asked
            else f"torch cannot read it: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        )
        raise ManifestError(message) from error
    if not isinstance(captured, dict):
        message = f"it holds a {type(captured).__name__}, no captured state"
        raise ManifestError(message)
    return captured


def final_state_digest(path: Path) -> str:
    """SHA-256 over all tensors of a checkpoint file, by name: two runs with the same one are equal bit for bit."""
    captured = torch.load(path, weights_only=True)
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors(captured), key=lambda item: item[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes first: numpy has no bfloat16.
        digest.update(tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
