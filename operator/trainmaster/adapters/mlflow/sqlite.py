"""The SQLite database of MLflow in local mode: whole, or not there at all.

MLflow creates its tables by some fifty migrations, 3 s in all, that are not transactional on SQLite: a kill in between
leaves a database that no later start can use. So it is created beside its place and renamed into it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from trainmaster.adapters.mlflow.uri import sqlite_uri
from trainmaster.ports.tracking import TrackingRefusedError, TrackingUnreachableError

UNSAYABLE: Final = frozenset("%?")
"""Whether `%` in the path of an SQLite URI is an escape differs between SQLAlchemy 2.0 and 2.1; `?` ends it."""
LEFTOVERS: Final = ("", "-journal", "-wal", "-shm")
"""What SQLite leaves beside a database of which the writer was killed; a stale journal would spoil a new one."""


def prepare_database(path: Path) -> None:
    """Create the database if it is missing; of several processes at once, one creates it and the others wait.

    Raises:
        TrackingUnreachableError: The folder cannot be written, or the disk is full.
        TrackingRefusedError: There is a file that is no SQLite database, or the path cannot be written as a URI.
        Exception: What MLflow and SQLAlchemy raise; the creation begins anew when asked again.
    """
    if UNSAYABLE & set(str(path)):
        message = f"the path {path} contains '%' or '?', which SQLAlchemy reads in its own way; choose another folder"
        raise TrackingRefusedError(message)
    try:
        if not _holds_data(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_name(f"{path.name}.lock")):
                if not _holds_data(path):
                    _create(path)
        _check(path)
    except OSError as error:
        message = f"cannot create the MLflow database {path}: {error.strerror}; free space or make the folder writable"
        raise TrackingUnreachableError(message) from error


def _holds_data(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create(path: Path) -> None:
    beside = path.with_name(f"{path.name}.new")
    for suffix in LEFTOVERS:
        beside.with_name(beside.name + suffix).unlink(missing_ok=True)
    store = SqlAlchemyStore(  # type: ignore[no-untyped-call]  # MLflow leaves it without types
        sqlite_uri(beside), str(path.parent / "artifacts")
    )
    store.engine.dispose()
    beside.replace(path)


def _check(path: Path) -> None:
    """Ask SQLite itself first: MLflow retries an unusable file ten times with growing pauses, 100 s in all."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        message = f"cannot open the MLflow database {path}: {error}; is the file writable, and the disk not full?"
        raise TrackingUnreachableError(message) from error
    except sqlite3.DatabaseError as error:
        message = f"{path} is no usable SQLite database ({error}); move it away: it is created anew from the series"
        raise TrackingRefusedError(message) from error
