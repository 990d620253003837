"""Which authorities the report server's certificate may be signed by: those that the Job was given, and newer ones.

The Job's environment never changes; the operator's authority does, once in years. Long before it does the next one
comes in replies, and is kept beside the plan: a launcher that starts on the same storage knows it as well. What the
Job was given is trusted for as long as it is valid. Where nothing was given the system's authorities are trusted.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
from pathlib import Path
from typing import Final

from trainmaster_launcher.lines import launch_files
from trainmaster_launcher.log import log

TRUST_FILE: Final = "authorities.pem"
MAX_TRUST_BYTES: Final = 64 * 1024
"""Two certificates are 2 KB; more than this is no bundle of ours."""


class Trust:
    """Authorities, and the TLS context that they make. `learn` and `context` may be called from any thread."""

    def __init__(self, *, given: str = "", file: Path | None = None) -> None:
        self._given = given
        self._file = file
        self._learned = ""
        self._written = ""
        self._kept: tuple[str, ...] = ()
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    @property
    def digest(self) -> str | None:
        """What to say of the authorities that a reply brought last; None before one has."""
        return hashlib.sha256(self._learned.encode()).hexdigest() if self._learned else None

    def context(self) -> ssl.SSLContext:
        """For the next connection. Raises OSError where what the Job was given cannot be read."""
        with self._lock:
            if self._context is None:
                self._context = self._new_context()
            return self._context

    def learn(self, pem: str) -> bool:
        """Trust these, too, in place of those that were learned before; whether they are others and can be read."""
        if pem == self._learned or not is_bundle(pem):
            return False
        with self._lock:
            self._learned, self._context = pem, None
        return True

    def recall(self, root: Path) -> None:
        """Trust what launches of this run have kept under a storage root; what cannot be read is left out."""
        try:
            kept = tuple(path.read_text(encoding="ascii") for path in launch_files(root, TRUST_FILE))
        except (OSError, ValueError) as error:
            log(f"kept authorities cannot be read: {error}")
            return
        with self._lock:
            self._kept, self._context = tuple(filter(is_bundle, kept)), None

    def keep(self, folder: Path) -> None:
        """Write what was learned beside the plan, if that is not done yet."""
        learned = self._learned
        if learned == self._written:
            return
        path = folder / TRUST_FILE
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("w", encoding="ascii") as file:
                file.write(learned)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            self._written = learned
        except OSError as error:
            log(f"the operator's authorities cannot be kept: {error}")

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._file) if self._file else None, cadata=self._given or None)
        for pem in (*self._kept, self._learned):
            if pem:
                context.load_verify_locations(cadata=pem)
        return context


def is_bundle(pem: str) -> bool:
    """Whether a text is certificates."""
    if len(pem) > MAX_TRUST_BYTES or not pem.isascii():
        return False
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        return False
    return bool(pem)
