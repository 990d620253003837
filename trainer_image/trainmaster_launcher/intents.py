"""Steps at which directives take effect, written down before they do.

A directive without a step is applied "at the next boundary". The process asks for that boundary; the first step that
any launch of this rerun wrote down stands for ever: a process that starts again from an older checkpoint applies the
directive at the same step, and trains the same weights.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO, Final

from trainmaster_launcher.lines import launch_files, open_to_append, read_lines, write_all
from trainmaster_launcher.log import log

INTENTS_FILE: Final = "intents.jsonl"


class Intents:
    """The record of all launches of one storage root."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / INTENTS_FILE
        self._file: BinaryIO | None = None
        self._complete = False
        self.steps: dict[str, int] = {}
        """The step on record, by directive."""

    def open(self) -> None:
        """Reads the records of all launches, oldest first. Raises nothing: `record` tries again."""
        try:
            self._read()
        except OSError as error:
            log(f"intents cannot be read: {error}")

    def _read(self) -> None:
        for path in launch_files(self._path.parent.parent, INTENTS_FILE):
            # Of a launch the last line stands: it wrote a second one only where the first could not be made durable,
            # and the step in it was passed without the directive. Of several launches the first one's stands.
            found = {str(line["directive"]): int(line["step"]) for line in read_lines(path)}
            self.steps = found | self.steps
        self._complete = True

    def record(self, directive: str, *, step: int) -> int | None:
        """The step on record, now durable; None where storage refuses: the process then asks again later."""
        line = json.dumps({"directive": directive, "step": step}).encode() + b"\n"
        try:
            if not self._complete:
                self._read()
            if directive in self.steps:
                return self.steps[directive]
            if self._file is None:
                self._file = open_to_append(self._path)
            write_all(self._file, line)
            os.fsync(self._file.fileno())
        except OSError as error:
            log(f"directive {directive} waits: its step cannot be written down: {error}")
            self.close()
            return None
        self.steps[directive] = step
        return step

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
