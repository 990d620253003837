"""Files and standard input -> text, or the problem that is in the way."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from trainmaster.api.problems import Problem

STDIN: Final = "-"
STDIN_NAME: Final = "<stdin>"
MAX_BYTES: Final = 1024 * 1024
"""etcd takes objects of 1.5 MiB; a longer file is data or a log, given by mistake."""

_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The text of one file; `problem` says why there is none."""

    file: str
    text: str = ""
    problem: Problem | None = None


def read_source(path: str, *, stdin: BinaryIO) -> Source:
    """Reads a file, or standard input for `-`. Never raises for what the file is or holds."""
    file = STDIN_NAME if path == STDIN else path
    try:
        content = _read_bytes(path, stdin=stdin)
    except OSError as error:
        return _refused(file, message=f"cannot be read: {(error.strerror or str(error)).lower()}")
    if content is None:
        return _refused(file, message="is a directory", hint=f"name its files: {path.rstrip('/')}/*.yaml")
    if len(content) > MAX_BYTES:
        return _refused(file, message=f"is larger than {MAX_BYTES // 1024} KiB", hint="is it a manifest at all?")
    if content.startswith(_UTF_16_MARKS):
        return _refused(file, message="is UTF-16", hint="save it as UTF-8")
    try:
        return Source(file=file, text=content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        message = f"is not UTF-8: byte 0x{content[error.start]:02x}"
        return _refused(file, message=message, hint="save it as UTF-8", line=line)


def _read_bytes(path: str, *, stdin: BinaryIO) -> bytes | None:
    """At most one byte more than allowed, so that an endless device ends; None for a directory."""
    if path == STDIN:
        return stdin.read(MAX_BYTES + 1)
    if stat.S_ISDIR(Path(path).stat().st_mode):
        return None
    with Path(path).open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _refused(file: str, *, message: str, hint: str = "", line: int = 0) -> Source:
    problem = Problem(file=file, message=message, hint=hint, line=line, column=1 if line else 0)
    return Source(file=file, problem=problem)
