"""A plain caller of an API server: one kept-alive connection, no thread, no retry; it sees what really comes back."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Wire = dict[str, Any]

PATIENCE = 20.0
"""Seconds of silence after which a test is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: Any


class Caller:
    """Calls `url`, trusting only `ca`."""

    def __init__(self, url: str, *, ca: Path | None, token: str = "caller") -> None:
        parts = urlsplit(url)
        self.headers = {"Authorization": f"Bearer {token}"}
        self.connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(ca))
            self.connection = http.client.HTTPSConnection(parts.netloc, timeout=PATIENCE, context=context)
        else:
            self.connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)

    def __call__(self, method: str, path: str, body: object = None) -> Told:
        """Ask, and read the whole answer."""
        raw = None if body is None else json.dumps(body)
        self.connection.request(method, path, raw, self.headers | {"Content-Type": "application/merge-patch+json"})
        response = self.connection.getresponse()
        return Told(status=response.status, headers=dict(response.headers), body=json.loads(response.read()))

    def create(self, collection: str, name: str, **fields: object) -> Told:
        """POST an object."""
        return self("POST", collection, {"metadata": {"name": name}, **fields})

    def watch(self, path: str, *, version: int = 0) -> http.client.HTTPResponse:
        """Open a watch; read it with `next_event`."""
        self.connection.request("GET", f"{path}?watch=true&resourceVersion={version}", headers=self.headers)
        return self.connection.getresponse()

    def close(self) -> None:
        """Close the connection, whatever is on it."""
        self.connection.close()


def next_event(watch: http.client.HTTPResponse) -> tuple[str, str, str]:
    """Type of the next event, name and resourceVersion of its object."""
    event = json.loads(watch.readline())
    meta = event["object"].get("metadata", {})
    return event["type"], meta.get("name", ""), meta.get("resourceVersion", "")


@contextmanager
def calling(url: str, *, ca: Path | None, token: str = "caller") -> Iterator[Caller]:
    """A caller that closes its connection at the end of the block."""
    caller = Caller(url, ca=ca, token=token)
    try:
        yield caller
    finally:
        caller.close()
