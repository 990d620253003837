"""The launcher's own lines on stderr, among those of the training process."""

from __future__ import annotations

import contextlib
import os
from typing import Final

STDERR: Final = 2


def log(message: str) -> None:
    """Writes one line, prefixed `launcher:`; a reader that went away is no reason to stop."""
    line = " ".join(message.splitlines())
    with contextlib.suppress(OSError):
        os.write(STDERR, f"launcher: {line}\n".encode(errors="replace"))
