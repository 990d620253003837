"""A real S3-compatible server for tests: versitygw over a folder, with signatures checked, on this machine alone.

`python -m tests.support.object_store` builds it from its Go module into the tests' cache (two minutes the first time)
and prints where it is. Tests take it from there, or skip and say so: they never build it.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane.build import BuildError, Program, find_programs
from tests.support.control_plane.process import Daemon, free_ports, kill_all, start_daemon, tail_of

VERSITYGW = Program(name="versitygw", module="versitygw", package="github.com/versity/versitygw/cmd/versitygw")
PROGRAM = VERSITYGW.cached()
"""Looked up once: fixtures may move the cache folder that what they test sees."""
HOW_TO_BUILD = "no S3-compatible server: build one by `python -m tests.support.object_store` (minutes the first time)"
START_SECONDS = 30.0
ATTEMPTS = 3
"""Starts with other ports: a free port may be taken before the server listens on it."""


@dataclass(kw_only=True)
class ObjectStore:
    """A running server with one bucket."""

    program: Path
    folder: Path
    port: int
    daemon: Daemon
    bucket: str = "checkpoints"
    access: str = "tester"
    secret: str = "of-this-test-alone"

    @property
    def environment(self) -> dict[str, str]:
        """What a client finds in its environment: endpoint and credentials, as the AWS clients name them."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def files(self) -> Path:
        """Where the bucket's objects lie as files: to look at them, and to damage them."""
        return self.folder / "objects" / self.bucket

    def kill(self) -> None:
        """End it without a word, as a machine's end would."""
        kill_all([self.daemon])

    def revive(self) -> None:
        """Start it again, on the same port and folder."""
        self.daemon = _start(self.program, self.folder, port=self.port)


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """A server over a folder, until the end of the block. Raises BuildError where it was never built."""
    if not PROGRAM.exists():
        raise BuildError(HOW_TO_BUILD)
    bucket = folder / "objects" / ObjectStore.bucket
    bucket.mkdir(parents=True)
    (folder / "sidecar").mkdir()
    for attempt in range(1, ATTEMPTS + 1):
        (port,) = free_ports(1)
        try:
            daemon = _start(PROGRAM, folder, port=port)
            break
        except BuildError:
            if attempt == ATTEMPTS:
                raise
    store = ObjectStore(program=PROGRAM, folder=folder, port=port, daemon=daemon)
    try:
        yield store
    finally:
        store.kill()


def _start(program: Path, folder: Path, *, port: int) -> Daemon:
    arguments = [
        f"--port=127.0.0.1:{port}",
        "--quiet",
        f"--access={ObjectStore.access}",
        f"--secret={ObjectStore.secret}",
    ]
    # Objects' attributes as files: not every folder of tests has extended attributes.
    arguments += ["posix", f"--sidecar={folder / 'sidecar'}", str(folder / "objects")]
    log = folder / "versitygw.log"
    daemon = start_daemon(program, arguments, log=log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and daemon.process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return daemon
        except OSError:
            time.sleep(0.05)
    kill_all([daemon])
    message = f"versitygw did not listen on {port}:\n{tail_of(log)}"
    raise BuildError(message)


def main() -> None:
    """Run as a program; exit code 1 when it cannot be built."""
    try:
        found = find_programs((VERSITYGW,))[VERSITYGW.name]
    except BuildError as error:
        sys.exit(f"object store: {error}")
    sys.stdout.write(f"{found}{os.linesep}")


if __name__ == "__main__":
    main()
