"""Where training data lies: `package://DISTRIBUTION/PATH` and `pvc://CLAIM/PATH` become a file and a name for messages.

Nothing of a distribution is imported: its list of files is read from its metadata.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from trainmaster_trainer.errors import DataError

HASH_BLOCK: Final = 1 << 20
"""Bytes that are hashed at once."""
HEAD: Final = 4096
"""Bytes at the beginning of a file that tell whether there is anything in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One data file, with the name that messages show. It is read as a stream: it may be larger than the memory."""

    name: str
    path: Path | None = None
    content: bytes = b""
    """The bytes of a file that lies nowhere; not looked at where there is a path."""

    def open(self) -> BinaryIO:
        """The bytes from the beginning."""
        return io.BytesIO(self.content) if self.path is None else self.path.open("rb")

    @property
    def sha256(self) -> str:
        """What tells whether the data is still the same after a restart; reads the whole file."""
        with self.open() as stream:
            digest = hashlib.sha256()
            while block := stream.read(HASH_BLOCK):
                digest.update(block)
        return digest.hexdigest()


def read_source(source: str, *, volumes: Mapping[str, str]) -> SourceFile:
    """The file that a data source names; `volumes` is the folder of each claim.

    Raises DataError if there is none, it cannot be read, or it is empty.
    """
    path = _locate(source, volumes=volumes)
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except FileNotFoundError:
        message = f"{source}: there is no file {path}; correct spec.data.source or put the file there"
        raise DataError(message) from None
    except IsADirectoryError:
        message = f"{source}: {path} is a folder; spec.data.source must name one file in it"
        raise DataError(message) from None
    except OSError as error:
        message = f"{source}: {path} cannot be read: {error.strerror}; the trainer's user needs to read it"
        raise DataError(message) from None
    if not head.strip():
        message = f"{source}: {path} is empty; it needs a header and one line per bar"
        raise DataError(message)
    return SourceFile(name=source, path=path)


def _locate(source: str, *, volumes: Mapping[str, str]) -> Path:
    scheme, _, rest = source.partition("://")
    owner, _, path = rest.partition("/")
    if not owner or not path or ".." in path.split("/"):
        message = f"{source}: a source is package://DISTRIBUTION/PATH or pvc://CLAIM/PATH, without '..' in it"
        raise DataError(message)
    if scheme == "package":
        return _in_distribution(source, name=owner, path=path)
    if scheme == "pvc":
        return _in_volume(source, claim=owner, path=path, volumes=volumes)
    message = f"{source}: this trainer reads package:// and pvc:// sources, not {scheme}://"
    raise DataError(message)


def _in_distribution(source: str, *, name: str, path: str) -> Path:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        message = (
            f"{source}: the distribution {name} is not installed where the trainer runs; install it there, "
            "or use pvc://CLAIM/PATH"
        )
        raise DataError(message) from None
    files = distribution.files
    if files is not None and path not in {file.as_posix() for file in files}:
        message = f"{source}: {name} {distribution.version} has no file {path}; check the path and the pinned version"
        raise DataError(message)
    return Path(str(distribution.locate_file(path)))


def _in_volume(source: str, *, claim: str, path: str, volumes: Mapping[str, str]) -> Path:
    if claim not in volumes:
        known = ", ".join(sorted(volumes)) or "none"
        message = f"{source}: the plan mounts no claim {claim} (it mounts: {known})"
        raise DataError(message)
    root = Path(volumes[claim]).resolve()
    located = (root / path).resolve()
    if not located.is_relative_to(root):
        message = f"{source}: {path} leads out of the claim {claim} through a link; copy the file into it"
        raise DataError(message)
    return located
