"""Tracking URIs of MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

SQLITE: Final = "sqlite:///"


def sqlite_uri(path: Path) -> str:
    """The tracking URI of a database file, as `mlflow ui --backend-store-uri` takes it."""
    return SQLITE + str(path.absolute())


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite tracking URI; None for other URIs."""
    return Path(uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) else None


def public_uri(uri: str) -> str:
    """The URI without a user name and password, for messages and status."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else uri
