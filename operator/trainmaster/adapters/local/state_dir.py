"""The state directory: where local mode keeps everything, and who may use a run in it."""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
from contextlib import suppress
from pathlib import Path

from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key

FLOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits: type, whence, start, length (0: all), process (0)."""


class StateDirError(TrainmasterError):
    """The state directory cannot be used."""


class RunLockedError(TrainmasterError):
    """Another process is running this run."""


class StateDir:
    """Folders under one root; made when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def prepare(self) -> None:
        """Make the folder and prove that it can be written. Raises StateDirError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(b"probe")
        except OSError as error:
            message = (
                f"state directory {self.root}: {error.strerror}; name another with --state-dir or TRAINMASTER_STATE_DIR"
            )
            raise StateDirError(message) from error

    @property
    def objects(self) -> Path:
        """TrainingRuns as JSON."""
        return self.root / "objects"

    @property
    def records(self) -> Path:
        """RunRecords as JSON."""
        return self.root / "records"

    @property
    def series(self) -> Path:
        """What launchers reported."""
        return self.root / "series"

    @property
    def mlflow_uri(self) -> str:
        """The MLflow backend of local mode."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    def volume(self, claim: str) -> Path:
        """The folder that stands for a claim."""
        return self.root / "volumes" / claim

    def jobs(self, run_uid: str) -> Path:
        """Folders of a run's Jobs."""
        return self.root / "jobs" / run_uid

    def work(self, run_uid: str) -> Path:
        """Of the launchers of a run whose checkpoints go to an object store."""
        return self.jobs(run_uid) / "work"

    def trainer_lock(self, run_uid: str) -> Path:
        """Held by a launcher and its training process: never two of one run."""
        return self.jobs(run_uid) / "trainer.lock"

    def lock_run(self, key: Key) -> RunLock:
        """Take a run for this process. Raises RunLockedError when another has it."""
        path = self._lock_path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return RunLock(path, key)
        except OSError as error:
            message = f"{path}: {error.strerror}; free space, or repair permissions, and run the same command again"
            raise StateDirError(message) from error

    def is_locked(self, key: Key) -> bool:
        """Whether a process drives this run now."""
        wanted = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            with self._lock_path(key).open("rb") as file:
                found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, wanted)
        except FileNotFoundError:
            return False
        return bool(struct.unpack(FLOCK, found)[0] != fcntl.F_UNLCK)

    def _lock_path(self, key: Key) -> Path:
        return self.root / "locks" / key.namespace / f"{key.name}.lock"


class RunLock:
    """An exclusive lock on a run, until `release` or the end of the process, however it comes.

    A lock of the open file description, as `flock` makes one, but others can look at it without taking it themselves.
    """

    def __init__(self, path: Path, key: Key) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except BlockingIOError:
            holder = os.read(self._fd, 32).decode(errors="replace").strip()
            os.close(self._fd)
            message = f"{key} is being run already, by process {holder or 'unknown'}: wait for it, or interrupt it"
            raise RunLockedError(message) from None
        with suppress(OSError):  # a full disk: the lock is held all the same, only its holder's name is missing
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the run back."""
        os.close(self._fd)


def write_atomic(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file as a whole: after a crash at any moment it holds the old or the new text.

    Raises StateDirError when the disk is full or the folder cannot be written; the old text then stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(mode)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        message = (
            f"{path}: {error.strerror}; nothing is lost: free space, or repair permissions; the same command goes on"
        )
        raise StateDirError(message) from error


def _sync_folder(folder: Path) -> None:
    """What was decided is on disk before anything happens because of it: a new name, too, outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
