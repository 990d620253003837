"""The feature store: features that were computed once, kept on disk and mapped into memory.

An entry is a folder named by the hash of the source's content and of the code that makes features: other bars or other
code never meet an old entry. It holds arrays and `meta.json` with their hashes, which is written last; the folder gets
its name when all of it is on disk. An entry that does not match its hashes is made again, and it is said.

Entries lie in `$XDG_CACHE_HOME/trainmaster/features` (`~/.cache` if that is not set): beside the process, not on the
volume of checkpoints, where a launch writes its own folder only. In a pod that is its own home: it outlives restarts in
place. Where nothing can be written, features stay in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainmaster_trainer.market.features import Allocate
from trainmaster_trainer.sources import HASH_BLOCK

log = logging.getLogger(__name__)

META: Final = "meta.json"
VALUES: Final = "values"
ARRAYS: Final = (VALUES, "time", "close", "labels")
UNFINISHED: Final = ".new-"
ABANDONED_SECONDS: Final = 86_400
"""An unfinished entry of this age belongs to a process that is gone."""
MOST_ENTRIES: Final = 8
"""Entries that are kept, those used last: a sweep over one source needs one."""
CODE: Final = ("market.bars", "market.cells", "market.features", "market.instruments", "market.tables", "market.times",
               "market.store", "synthetic.coinflip")  # fmt: skip
"""Modules whose code decides what an entry holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What an entry holds: features, and closes to label or ready-made labels."""

    feature_names: tuple[str, ...]
    values: NDArray[np.float32]
    time: NDArray[np.datetime64]
    timed: bool = True
    instruments: tuple[str, ...] = ("",)
    starts: tuple[int, ...] = (0,)
    close: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Build = Callable[[Allocate | None], Stored]
"""Makes what is stored; fills the array that the argument gives, or one in memory."""


class DamagedEntryError(Exception):
    """An entry that is not what was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureStore:
    """Entries in one folder. Several processes may use it at once: an entry appears whole or not at all."""

    folder: Path

    @classmethod
    def default(cls) -> FeatureStore | None:
        """The user's own; None where there is no place for it."""
        try:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            folder = Path(base) / "trainmaster" / "features"
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError) as error:
            log.info("features are not kept on disk: %s", error)
            return None
        return cls(folder=folder) if os.access(folder, os.W_OK) else None

    def fetch(self, fingerprint: str, *, build: Build) -> Stored:
        """The entry of a source, made if it is not there or damaged; its arrays may be written to, which stays here."""
        entry = self.folder / hashlib.sha256(f"{fingerprint}/{code_version()}".encode()).hexdigest()
        if entry.is_dir():
            try:
                return self._open(entry)
            except (DamagedEntryError, OSError, ValueError, KeyError, TypeError) as error:
                log.warning("the stored features in %s are damaged (%s): they are made again", entry, error)
                shutil.rmtree(entry, ignore_errors=True)
        try:
            self._write(entry, build)
            return self._open(entry)
        except OSError as error:
            log.warning("features cannot be kept in %s (%s): they stay in memory", self.folder, error)
            return build(None)

    def _open(self, entry: Path) -> Stored:
        meta: dict[str, Any] = json.loads((entry / META).read_text(encoding="utf-8"))
        arrays: dict[str, Any] = {}
        for name, digest in meta["arrays"].items():
            path = entry / f"{name}.npy"
            if _digest(path) != digest:
                message = f"{path.name} is not what was written"
                raise DamagedEntryError(message)
            # Private: who scales the features in place changes no file.
            arrays[name] = np.load(path, mmap_mode="c", allow_pickle=False)
        os.utime(entry / META)
        lists: dict[str, Any] = {
            name: tuple(meta[name]) for name in ("feature_names", "instruments", "starts", "classes", "notes")
        }
        return Stored(timed=meta["timed"], **lists, **arrays)

    def _write(self, entry: Path, build: Build) -> None:
        self._tidy()
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
        try:
            _fill(unfinished, build)
            # Another process may have been faster: its entry is as good.
            with contextlib.suppress(FileExistsError):
                _rename(unfinished, entry)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove what nobody finished, and the entries that were used longest ago."""
        for path in self.folder.glob(f"{UNFINISHED}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
        used = sorted(self.folder.glob(f"*/{META}"), key=_last_use)
        for path in used[: max(len(used) - MOST_ENTRIES + 1, 0)]:
            shutil.rmtree(path.parent, ignore_errors=True)


@lru_cache(maxsize=1)
def code_version() -> str:
    """Hash of the code that makes features, and of the libraries' versions that it computes with."""
    digest = hashlib.sha256(f"{np.__version__} {pd.__version__} {sys.byteorder}".encode())
    for name in CODE:
        digest.update(Path(str(import_module(f"trainmaster_trainer.{name}").__file__)).read_bytes())
    return digest.hexdigest()


def _fill(folder: Path, build: Build) -> None:
    def allocate(shape: tuple[int, int]) -> NDArray[np.float32]:
        path = folder / f"{VALUES}.npy"
        mapped: NDArray[np.float32] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        return mapped

    stored = build(allocate)
    if isinstance(stored.values, np.memmap):
        stored.values.flush()
    arrays = {name: getattr(stored, name) for name in ARRAYS if getattr(stored, name) is not None}
    for name, array in arrays.items():
        if name != VALUES:
            np.save(folder / f"{name}.npy", array)
    meta = {
        "arrays": {name: _digest(folder / f"{name}.npy") for name in arrays},
        "feature_names": stored.feature_names,
        "timed": stored.timed,
        "instruments": stored.instruments,
        "starts": stored.starts,
        "classes": stored.classes,
        "notes": stored.notes,
    }
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _rename(source: Path, target: Path) -> None:
    """Rename a folder. Raises FileExistsError where the target is there already, whatever the system calls it."""
    try:
        source.rename(target)
    except OSError:
        if target.is_dir():
            raise FileExistsError(target) from None
        raise


def _last_use(meta: Path) -> float:
    try:
        return meta.stat().st_mtime
    except FileNotFoundError:  # removed by another process meanwhile
        return 0.0


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
