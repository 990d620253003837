"""A real report server on the loopback whose answers a test scripts; it keeps what it was sent, as an operator does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Wire = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scripted:
    """One answer that is not the usual reply."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Script = Callable[[Wire], Scripted | None]


class ReportServer:
    """Answers reports with `plan`; `script` may answer otherwise. Entries are kept by number, as an operator would."""

    def __init__(self, plan: Wire, *, port: int = 0, pace: float = 0.1, contiguous: bool = False) -> None:
        self.plan = plan
        self.pace = pace
        self.contiguous = contiguous
        self.script: Script = lambda _report: None
        self.reports: list[Wire] = []
        self.entries: dict[int, Wire] = {}
        self.doubled: list[int] = []
        """Numbers of entries that came again although the reply had confirmed them."""
        self.tokens: list[str | None] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where to post reports."""
        return f"http://127.0.0.1:{self.port}/v1/reports"

    @property
    def have_seq(self) -> int:
        """The newest entry that was taken; if `contiguous`, the one before the first gap."""
        if not self.contiguous:
            return max(self.entries, default=0)
        return next(seq for seq in range(len(self.entries) + 1) if seq + 1 not in self.entries)

    @property
    def phase(self) -> str:
        """Of the newest report."""
        return str(self.reports[-1]["phase"]) if self.reports else ""

    def of_type(self, entry_type: str) -> list[Wire]:
        """The entries of a type, by number."""
        with self._changed:  # reentrant: conditions of wait_for may ask
            return [self.entries[seq] for seq in sorted(self.entries) if self.entries[seq]["type"] == entry_type]

    def take(self, report: Wire, token: str | None) -> Scripted:
        """The answer to a report."""
        with self._changed:
            self.reports.append(report)
            self.tokens.append(token)
            scripted = self.script(report)
            if scripted is None:
                if report["afterSeq"] <= self.have_seq:
                    self._keep(report["entries"])
                reply = {"protocol": 1, "haveSeq": self.have_seq, "plan": self.plan, "nextReportSeconds": self.pace}
                scripted = Scripted(status=200, body=json.dumps(reply).encode())
            self._changed.notify_all()
            return scripted

    def wait_for(self, condition: Callable[[], bool], *, what: str, timeout: float = 20.0) -> None:
        """Waits until a condition on what was sent holds. Raises AssertionError, saying what was waited for."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                message = f"{what} did not come within {timeout:g} s; entries: {list(self.entries.values())[-5:]}"
                raise AssertionError(message)

    def close(self) -> None:
        """Ends the server: connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()

    def _keep(self, entries: list[Wire]) -> None:
        have = self.have_seq
        for entry in entries:
            if entry["seq"] <= have:
                self.doubled.append(entry["seq"])
            self.entries[entry["seq"]] = entry


def _handler(server: ReportServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = server.take(report, self.headers.get("Authorization"))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_arguments: object) -> None:
            """A test's output is for the test."""

    return Handler
