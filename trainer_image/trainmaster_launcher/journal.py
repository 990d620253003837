"""The journal of a launch: a ledger in memory, and `journal.jsonl` beside the checkpoints.

Lines are entries as the operator gets them, and `{"type": "have", "seq": N}` where the operator confirmed. A line is
written before anybody is told of the entry; entries that must outlive the machine are fsynced. The file is written anew
when forgotten training points fill half of it. If storage fails the journal goes on in memory, and tries again with
every entry that must be durable.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import BinaryIO, Final

from trainmaster_launcher.entries import Entry, parse_entry
from trainmaster_launcher.errors import os_words
from trainmaster_launcher.ledger import TRAIN_POINTS_KEPT, Ledger, news_of_earlier_launches
from trainmaster_launcher.lines import launch_files, open_to_append, read_lines, sync_folder, write_all
from trainmaster_launcher.log import log

JOURNAL_FILE: Final = "journal.jsonl"
HAVE: Final = "have"


class Journal:
    """Thread-safe: the main thread appends, the reporter reads."""

    def __init__(self, folder: Path, *, train_points_kept: int = TRAIN_POINTS_KEPT) -> None:
        self._path = folder / JOURNAL_FILE
        self._kept = train_points_kept
        self._ledger = Ledger(train_points_kept=train_points_kept)
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._lines = 0
        self._confirmed = 0
        self.trouble = ""
        """What storage has against the journal now, in words; empty: nothing."""

    def open(self) -> None:
        """Reads what an earlier pod of this launch wrote, and what earlier launches measured. Raises nothing."""
        try:
            entries, self._confirmed = read_journal(self._path)
            for entry in entries:
                self._ledger.add(entry)
            self._file = open_to_append(self._path)
            self._lines = len(entries)
            news = news_of_earlier_launches(_earlier_journals(self._path), own=self._ledger)
        except OSError as error:
            self._break(error)
            return
        for entry in news:
            self.append(entry, durable=False)
        self._sync()

    def append(self, entry: Entry, *, durable: bool) -> Entry | None:
        """Numbers and writes an entry; None if it is not news. Never raises for storage."""
        with self._lock:
            if not self._ledger.admits(entry):
                return None
            numbered = self._ledger.add(entry)
            self._write(numbered.to_line())
        if durable:
            self._sync()
        if self._lines > 2 * len(self._ledger) + self._kept:
            self._rewrite()
        return numbered

    def confirm(self, seq: int) -> None:
        """Notes up to which number the operator has the entries; it may have some that storage has lost."""
        with self._lock:
            self._ledger.skip_to(seq)
            if seq != self._confirmed:
                self._confirmed = seq
                self._write(_have_line(seq))

    @property
    def last_seq(self) -> int:
        """Number of the newest entry."""
        return self._ledger.last_seq

    def after(self, seq: int, *, limit: int) -> list[Entry]:
        """The first entries with a number above `seq`."""
        with self._lock:
            return self._ledger.after(seq, limit=limit)

    def entries(self, entry_type: str) -> list[Entry]:
        """All entries of a type that is never forgotten."""
        with self._lock:
            return [each for each in self._ledger.entries() if each.type == entry_type]

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            write_all(self._file, line)
            self._lines += 1
        except OSError as error:
            self._break(error)

    def _sync(self) -> None:
        if self._file is None:
            self._rewrite()
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            self._break(error)

    def _rewrite(self) -> None:
        """Writes what is kept to a new file, which then takes the journal's name. Numbers stay."""
        temporary = self._path.with_suffix(".tmp")
        with self._lock:
            lines = [each.to_line() for each in self._ledger.entries()]
            try:
                file = _write_anew(temporary, b"".join([*lines, _have_line(self._confirmed)]))
                temporary.replace(self._path)
                sync_folder(self._path.parent)
            except OSError:
                return  # said when the file broke; the next durable entry tries again
            if self._file is None:
                log("storage is back: the journal is complete again")
            else:
                self._file.close()
            self._file = file
            self._lines = len(lines)
            self.trouble = ""

    def _break(self, error: OSError) -> None:
        self.trouble = f"the journal cannot be written: {os_words(error)}"
        log(f"journal {self._path} cannot be written, going on in memory: {error}")
        if self._file is not None:
            self._file.close()
            self._file = None


def read_journal(path: Path) -> tuple[list[Entry], int]:
    """A journal's entries, and the number up to which the operator confirmed them. Raises OSError."""
    lines = read_lines(path)
    confirmed = max((line["seq"] for line in lines if line.get("type") == HAVE), default=0)
    return [parse_entry(line) for line in lines if line.get("type") != HAVE], confirmed


def _write_anew(path: Path, data: bytes) -> BinaryIO:
    file = path.open("wb", buffering=0)
    try:
        write_all(file, data)
        os.fsync(file.fileno())
    except OSError:
        file.close()
        raise
    return file


def _earlier_journals(own: Path) -> list[tuple[list[Entry], int]]:
    """The journals of the other launches of this root, oldest launch first. Raises OSError."""
    return [read_journal(path) for path in launch_files(own.parent.parent, JOURNAL_FILE) if path != own]


def _have_line(seq: int) -> bytes:
    return json.dumps({"type": HAVE, "seq": seq}, separators=(",", ":")).encode() + b"\n"
