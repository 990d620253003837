"""One connection for many reports, and a new one whenever the old one is of no use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.launcher import plan_wire, wait_until
from trainmaster_launcher import http_client
from trainmaster_launcher.http_client import HttpClient
from trainmaster_launcher.responses import Failed, Taken
from trainmaster_launcher.trust import Trust

PLAN = plan_wire(Path("/storage"), command=["true"])


class Server:
    """Answers every request alike, and counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.requests: list[str | None] = []
        self.version = "HTTP/1.1"
        self.close_after: int | None = None
        """Requests after which a connection is closed without a word; None: never."""
        self.cuts = threading.Event()
        """Set: connections are closed when a request has come."""
        self.silent = threading.Event()
        """Set: requests are not answered."""
        self.address: tuple[str, int] = ("127.0.0.1", 0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}/v1/reports"

    @contextmanager
    def running(self) -> Iterator[None]:
        server = ThreadingHTTPServer(self.address, self._handler())
        server.daemon_threads = True
        self.address = ("127.0.0.1", server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = outer.version

            def setup(self) -> None:
                super().setup()
                outer.connections += 1
                outer.open += 1
                self.left = outer.close_after

            def finish(self) -> None:
                super().finish()
                outer.open -= 1

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(self.headers.get("Authorization"))
                if outer.silent.is_set() or outer.cuts.is_set():
                    self.close_connection = outer.cuts.is_set()
                    return
                body = json.dumps({"haveSeq": 0, "plan": PLAN, "nextReportSeconds": 1}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                if self.left is not None:
                    self.left -= 1
                    self.close_connection = self.left == 0

            def log_message(self, *_arguments: object) -> None:
                """A test's output is for the test."""

        return Handler


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


@pytest.fixture
def client(token: Path) -> Iterator[HttpClient]:
    made = HttpClient(token_file=token, trust=Trust(), timeout=5)
    yield made
    made.close()


def test_many_reports_take_one_connection_and_the_token_of_the_moment(client: HttpClient, token: Path) -> None:
    server = Server()
    with server.running():
        assert isinstance(client.post(server.url, b"{}"), Taken)
        token.write_text("second\n")
        assert isinstance(client.post(server.url, b"{}"), Taken)
    assert server.connections == 1
    assert server.requests == ["Bearer first", "Bearer second"]


def test_a_connection_that_was_closed_at_the_other_end_costs_no_report(client: HttpClient) -> None:
    server = Server()
    server.close_after = 2
    with server.running():
        for sent in range(1, 7):
            assert isinstance(client.post(server.url, b"{}"), Taken)
            if sent % 2 == 0:
                wait_until(lambda: server.open == 0, what="the end of the connection")
    assert server.connections == 3
    assert len(server.requests) == 6


def test_a_server_that_keeps_no_connection_is_asked_anew_each_time(client: HttpClient) -> None:
    server = Server()
    server.version = "HTTP/1.0"
    with server.running():
        for _ in range(3):
            assert isinstance(client.post(server.url, b"{}"), Taken)
    assert server.connections == 3


def test_a_server_that_comes_back_is_found_and_one_that_is_away_is_an_answer(client: HttpClient) -> None:
    server = Server()
    with server.running():
        assert isinstance(client.post(server.url, b"{}"), Taken)
    client.close()
    assert isinstance(client.post(server.url, b"{}"), Failed)
    with server.running():
        assert isinstance(client.post(server.url, b"{}"), Taken)


def test_a_connection_silent_for_long_is_not_trusted(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    with server.running():
        assert isinstance(client.post(server.url, b"{}"), Taken)
        monkeypatch.setattr(http_client, "KEPT_SECONDS", 0)
        assert isinstance(client.post(server.url, b"{}"), Taken)
    assert server.connections == 2


def test_another_place_gets_another_connection(client: HttpClient) -> None:
    one, other = Server(), Server()
    with one.running(), other.running():
        for server in (one, other, one):
            assert isinstance(client.post(server.url, b"{}"), Taken)
        wait_until(lambda: other.open == 0, what="the end of the connection that is not needed")
    assert (one.connections, other.connections) == (2, 1)


def test_a_report_that_is_cut_off_is_sent_again_once(client: HttpClient) -> None:
    server = Server()
    with server.running():
        assert isinstance(client.post(server.url, b"{}"), Taken)
        server.cuts.set()
        assert isinstance(client.post(server.url, b"{}"), Failed)
    assert (server.connections, len(server.requests)) == (2, 3)


def test_a_report_that_is_not_answered_in_time_is_not_sent_again(token: Path) -> None:
    server, client = Server(), HttpClient(token_file=token, trust=Trust(), timeout=0.2)
    with server.running():
        assert isinstance(client.post(server.url, b"{}"), Taken)
        server.silent.set()
        assert isinstance(client.post(server.url, b"{}"), Failed)
        assert (server.connections, len(server.requests)) == (1, 2)
        server.silent.clear()
        assert isinstance(client.post(server.url, b"{}"), Taken)
    assert server.connections == 2, "an answer that comes late must not be taken for that to the next report"


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http:///", "ftp://x/", "https:x", "http://[/"])
def test_an_address_that_is_none_is_an_answer_too(client: HttpClient, url: str) -> None:
    assert isinstance(client.post(url, b"{}"), Failed)
