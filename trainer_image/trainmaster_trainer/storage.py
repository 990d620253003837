"""Where checkpoints lie: a folder (of this machine or of a mounted claim), or a prefix in an object store.

Both read, write, list and delete small trees of files by name, such as `3/step-000000120-epoch-0004.pt`. A write is
whole or not there:

- `FolderStorage` writes a temporary file, flushes it to the disk, renames it, and flushes the folder.
- `ObjectStorage` puts one object, which stores such as S3 and GCS show whole or not at all. They do not order two
  writes for a reader, so what is written last, the manifest, is the commit record, and hashes are checked on reading.

Object stores take their credentials and endpoint from the environment or the pod's service account, as their own
clients do (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, web identity; `GOOGLE_APPLICATION_CREDENTIALS`, workload identity):
never from a spec. All methods of both raise OSError, whatever the client behind them raises; UnavailableError where the
store did not answer or let nobody in, which says nothing about a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from trainmaster_trainer.errors import ConfigurationError

TEMPORARY: Final = ".tmp"
"""Ends the names of files that are being written."""

Content = bytes | memoryview

_EXTRAS: Final = {"s3": "s3", "gs": "gcs"}
"""Schemes of object stores, with the extra of the distribution that brings their client."""
_CONNECT_SECONDS: Final = 10
"""Botocore waits 60 s, five times over, for an endpoint that is not there: a pod would sit there, saying nothing."""


class UnavailableError(OSError):
    """An object store did not answer, or refuses this account: whether a file is good is not known."""


class Storage(Protocol):
    """A tree of files of two levels. Names are relative, with `/` between their parts."""

    @property
    def address(self) -> str:
        """What messages call it."""

    def read(self, name: str) -> bytes:
        """The content of a file. Raises FileNotFoundError, UnavailableError, or another OSError."""

    def write(self, name: str, content: Content) -> None:
        """Make or replace a file, durably; a crash or an OSError leaves the old one or the new one."""

    def list(self, folder: str = "") -> list[str]:
        """Names, without their folder, of what lies right in a folder; none where it does not exist."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there. Raises OSError."""


def open_storage(address: str) -> Storage:
    """The storage of an address: a path, `file://PATH`, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.

    Nothing is asked of it yet. Raises ConfigurationError for another scheme, or where its client is not installed.
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        return FolderStorage(Path(address))
    if scheme == "file":
        return FolderStorage(Path(unquote(urlsplit(address).path)))
    if scheme == "pvc":
        message = f"{address}: a claim reaches the trainer as a folder; the plan must name the folder it is mounted in"
        raise ConfigurationError(message)
    if scheme not in _EXTRAS:
        message = f"{address}: checkpoints go to a folder, to s3:// or to gs://, not to {scheme}://"
        raise ConfigurationError(message)
    bucket, _, prefix = address.removeprefix(f"{scheme}://").partition("/")
    if not bucket or ".." in prefix.split("/"):
        message = f"{address}: it must look like {scheme}://BUCKET/PREFIX, without '..' in it"
        raise ConfigurationError(message)
    return ObjectStorage(_client(scheme, address), bucket=bucket, prefix=prefix, scheme=scheme)


class FolderStorage:
    """Files in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._root)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return (self._root / name).read_bytes()

    def write(self, name: str, content: Content) -> None:
        """Write, flush, rename, flush the folder; no temporary file stays after an OSError."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def list(self, folder: str = "") -> list[str]:
        """Names of what lies in a folder, files half written included."""
        try:
            return [entry.name for entry in (self._root / folder).iterdir()]
        except FileNotFoundError:
            return []

    def delete(self, name: str) -> None:
        """Remove a file."""
        (self._root / name).unlink(missing_ok=True)


class ObjectStorage:
    """Objects below a prefix of a bucket, through an fsspec file system that keeps no listings."""

    def __init__(self, client: Any, *, bucket: str, prefix: str, scheme: str) -> None:  # noqa: ANN401  # fsspec has no types
        self._client = client
        self._bucket = bucket
        self._root = f"{bucket}/{prefix}".rstrip("/")
        self._scheme = scheme

    @property
    def address(self) -> str:
        """Scheme, bucket and prefix."""
        return f"{self._scheme}://{self._root}"

    def read(self, name: str) -> bytes:
        """The content of an object."""
        with _explained():
            return bytes(self._client.cat_file(self._path(name)))

    def write(self, name: str, content: Content) -> None:
        """Put one object."""
        with _explained():
            self._client.pipe_file(self._path(name), bytes(content))

    def list(self, folder: str = "") -> list[str]:
        """Names right below a prefix. A bucket that does not exist is an error: nothing could be written either."""
        path = self._path(folder)
        with _explained():
            try:
                found = self._client.ls(path, detail=False)
            except FileNotFoundError:
                if not self._client.exists(self._bucket):
                    message = f"there is no bucket {self._bucket}, or this account may not see it"
                    raise UnavailableError(message) from None
                return []
        names = (str(entry).rstrip("/").rpartition("/") for entry in found)
        # A listing of a single object, or of a folder's own marker, names the prefix itself.
        return [name for parent, _, name in names if parent.strip("/") == path]

    def delete(self, name: str) -> None:
        """Remove an object."""
        with _explained():
            try:
                self._client.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")


def _client(scheme: str, address: str) -> Any:  # noqa: ANN401  # fsspec has no types
    import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415  # it has no types; only object stores need it

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "s3":
        # A file that changed in the store is damaged, which its manifest's hash says: to the client's own checksum it
        # would be a store that does not answer, for ever.
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_SECONDS,
            "response_checksum_validation": "when_required",
        }
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        message = (
            f"{address}: the client of {scheme}:// is not installed here ({error}): "
            f'use a trainer image that has it (pip install "trainmaster[{_EXTRAS[scheme]}]")'
        )
        raise ConfigurationError(message) from error
    except Exception as error:  # as in `_explained`: a broken file of credentials, an option that a version lacks
        message = f"{address}: the client of {scheme}:// does not start ({type(error).__name__}: {error})"
        raise ConfigurationError(message) from error


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, UnavailableError):
        raise
    except Exception as error:  # each client has a family of errors of its own, which cannot be named without it
        message = f"{type(error).__name__}: {error}"
        raise UnavailableError(message) from error


def write_atomically(path: Path, content: Content) -> None:
    """Write a file so that a crash leaves the old one or the new one; no temporary file stays after an OSError."""
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
