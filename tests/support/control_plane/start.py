"""Starting a plane, joining one that runs, and letting it go."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.control_plane.build import cache_folder, find_programs
from tests.support.control_plane.plane import READY, ControlPlane, Layout, PlaneError
from tests.support.control_plane.process import is_locked, locked

PREFIX = "trainmaster-plane-"
REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Use:
    """A plane in use: it stays up while the lock is held."""

    plane: ControlPlane
    lock: IO[str]
    supervisor: subprocess.Popen[str] | None = None
    """The plane's supervisor, in the process that started it."""

    def end(self) -> None:
        """Let go. The last user returns when no process and no file is left."""
        with suppress(FileNotFoundError), Layout(folder=self.plane.folder).supervisor.open("a") as alive:
            last = _is_only_holder(self.lock)
            self.lock.close()
            if not last:
                return
            fcntl.flock(alive, fcntl.LOCK_EX)
        if self.supervisor:
            self.supervisor.wait()


@contextmanager
def start_control_plane(folder: Path | None = None) -> Iterator[ControlPlane]:
    """A plane of one's own, in a folder that is removed with it.

    Args:
        folder: where to put it; must not exist yet. By default a new one among the system's temporary files.

    Raises:
        BuildError: programs are missing and cannot be built.
        PlaneError: it did not start.
    """
    use = start(folder)
    try:
        yield use.plane
    finally:
        use.end()


def start(folder: Path | None = None) -> Use:
    """Start a plane under a supervisor of its own. Raises as `start_control_plane`."""
    find_programs()
    with locked(cache_folder() / "planes.lock"):
        remove_dead()
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        else:
            folder.mkdir()
        layout = Layout(folder=folder.absolute())
        lock = layout.users.open("a")
        fcntl.flock(lock, fcntl.LOCK_SH)
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "tests.support.control_plane.supervisor", str(layout.folder)],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        said = supervisor.stdout.read()
    if READY not in said.splitlines():
        lock.close()
        supervisor.wait()
        shutil.rmtree(layout.folder, ignore_errors=True)
        msg = f"no control plane: {said}"
        raise PlaneError(msg)
    return Use(plane=layout.read(), lock=lock, supervisor=supervisor)


def join(folder: Path) -> Use | None:
    """Use a plane that somebody started; None where it is gone or going."""
    layout = Layout(folder=folder)
    try:
        lock = layout.users.open("r")
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_SH)
    if is_locked(layout.supervisor):
        return Use(plane=layout.read(), lock=lock)
    lock.close()
    return None


def remove_dead() -> None:
    """Remove the folders of planes whose users and supervisor were all killed; their programs died with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        layout = Layout(folder=folder)
        if not is_locked(layout.users) and not is_locked(layout.supervisor):
            shutil.rmtree(folder, ignore_errors=True)


def _is_only_holder(file: IO[str]) -> bool:
    """Whether nobody else holds the lock; it is lost to the holder where somebody does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
