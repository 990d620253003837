"""Files about a trained model that lie beside its checkpoints: pictures, evaluation, model card, the exported model.

Found by what they are not: no checkpoint, nothing of the launcher's, nothing half written. So what somebody else's
training program leaves there is found as well.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

MAX_FILES: Final = 32
"""The market classifier writes seven; a program that leaves hundreds means something else by them."""
MAX_BYTES: Final = 64 * 2**20
"""Of one file: the trainer's largest, an exported model, has some megabytes; beyond stand weights and dumps, of which a
second copy is a cost that nobody asked for. With `MAX_FILES` a run's files stay under 2 GiB."""
NAMED: Final = 3
"""Of the files beyond `MAX_FILES`: a line is read, a list of hundreds is not."""
LAUNCHER_FILES: Final = frozenset({"intents.jsonl", "journal.jsonl", "plan.json"})
CHECKPOINT_PREFIX: Final = "step-"
"""Of the trainer's checkpoints and manifests, those included that a crash kept from being reported."""
TEMPORARY: Final = ".tmp"
"""Ends the names of files that the trainer is writing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFiles:
    """What was found in the folder of a launch."""

    files: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()
    """Name and reason of each file that is not among them though it is about the model."""


def find_model_files(folder: Path, *, checkpoints: Collection[str]) -> ModelFiles:
    """The files about the model in a launch's folder, by name; none where there is no folder.

    `checkpoints` are the reported ones, as paths of which the last part counts. A folder that cannot be read, a file
    above `MAX_BYTES` and those beyond `MAX_FILES` are told in `left_out`; this raises nothing.
    """
    stems = {PurePosixPath(path).stem for path in checkpoints}
    try:
        with os.scandir(folder) as entries:
            sizes = {
                entry.name: entry.stat(follow_symlinks=False).st_size
                for entry in entries
                if entry.is_file(follow_symlinks=False) and _is_about_the_model(entry.name, checkpoint_stems=stems)
            }
    except FileNotFoundError:
        return ModelFiles()
    except OSError as error:
        return ModelFiles(left_out=(f"{folder}: {error.strerror}",))
    objections = {name: _objection(folder / name, size=size) for name, size in sorted(sizes.items())}
    good = [name for name, objection in objections.items() if not objection]
    left_out = [f"{name}: {objection}" for name, objection in objections.items() if objection]
    left_out += [f"{name}: there are more than {MAX_FILES} files" for name in good[MAX_FILES:][:NAMED]]
    if len(good) > MAX_FILES + NAMED:
        left_out.append(f"and {len(good) - MAX_FILES - NAMED} more")
    return ModelFiles(files=tuple(folder / name for name in good[:MAX_FILES]), left_out=tuple(left_out))


def _objection(file: Path, *, size: int) -> str:
    if size > MAX_BYTES:
        return f"{size} bytes, more than {MAX_BYTES}"
    try:
        file.open("rb").close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _is_about_the_model(name: str, *, checkpoint_stems: Collection[str]) -> bool:
    return not (
        name in LAUNCHER_FILES
        or name.startswith((CHECKPOINT_PREFIX, "."))
        or name.endswith(TEMPORARY)
        or PurePosixPath(name).stem in checkpoint_stems
    )
