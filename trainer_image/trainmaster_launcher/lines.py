"""Files of JSON lines that only grow: reading tolerates a torn end, appending starts after the last whole line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO


def whole_lines(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects of all lines up to the first broken one, and the length in bytes of what they fill.

    A machine that ends while a line is written leaves a part of it, or zeros.
    """
    found: list[dict[str, Any]] = []
    length = 0
    for line in data.splitlines(keepends=True):
        try:
            value = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(value, dict):
            break
        found.append(value)
        length += len(line)
    return found, length


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; none where there is no file. Raises OSError."""
    try:
        return whole_lines(path.read_bytes())[0]
    except FileNotFoundError:
        return []


def launch_files(root: Path, name: str) -> list[Path]:
    """The files of a name in the folders of all launches, oldest launch first. Raises OSError.

    Not by glob: that takes an unreadable folder for an empty one.
    """
    launches = sorted((path for path in root.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    return [path for launch in launches if (path := launch / name).exists()]


def open_to_append(path: Path) -> BinaryIO:
    """Opens a file after its last whole line, unbuffered: what was written survives this process. Raises OSError."""
    path.touch()
    _, length = whole_lines(path.read_bytes())
    os.truncate(path, length)
    sync_folder(path.parent)
    return path.open("ab", buffering=0)


def write_all(file: BinaryIO, data: bytes) -> None:
    """Writes all of `data` to an unbuffered file; a full disk may take a part only. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sync_folder(folder: Path) -> None:
    """Makes names of new files durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
