"""One POST, over HTTP or HTTPS, with a bearer token that is read anew for each request."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from trainmaster_launcher.responses import Failed, Response, read_response

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
"""A plan with a thousand directives is far smaller."""


class HttpClient:
    """Posts reports. A token file is replaced by the kubelet while the pod runs: nothing of it is kept."""

    def __init__(self, *, token_file: Path | None, ca_file: Path | None, timeout: float) -> None:
        self._token_file = token_file
        self._ca_file = ca_file
        self._timeout = timeout

    def post(self, url: str, body: bytes) -> Response:
        """The answer; every failure is an answer too: a request never raises for the network's reasons."""
        try:
            return self._post(url, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Failed(reason=f"{type(error).__name__}: {error}")

    def _post(self, url: str, body: bytes) -> Response:
        parts = urlsplit(url)
        headers = {"Content-Type": "application/json"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        connection = self._connection(parts.scheme, host=parts.hostname or "", port=parts.port)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body=body, headers=headers)
            answer = connection.getresponse()
            return read_response(
                answer.status,
                body=answer.read(MAX_REPLY_BYTES),
                retry_after=answer.getheader("Retry-After"),
                location=answer.getheader("Location"),
            )
        finally:
            connection.close()

    def _connection(self, scheme: str, *, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        context = ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file else None)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
