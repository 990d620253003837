"""The fault proxy: stands between an operator and its API server, and makes the faults that a test installs.

    with fault_proxy(plane) as proxy:
        operator = start_operator(kubeconfig=proxy.kubeconfig)
        killed = proxy.install(KillAfter(write=2, kill=operator.kill))
        killed.wait()
        assert proxy.writes[1].committed

It runs on a thread of its own; all methods are for the test's thread. A caller speaks HTTP/1.1 with a bearer token,
which is passed on. One proxy serves one operator: a kill breaks all connections that it has; two operators get two
proxies. Commands that upgrade their connection (exec, attach, port-forward) do not pass.
"""

from __future__ import annotations

import json
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from aiohttp import ClientSession, TCPConnector, web

from tests.support.fault_proxy.board import WAIT_SECONDS, Board, Installed, Seen
from tests.support.fault_proxy.certificates import loopback_tls
from tests.support.fault_proxy.engine import Engine
from tests.support.fault_proxy.faults import CutWatches, Fault, HalfOpen, ServerAway, WatchError410
from tests.support.fault_proxy.requests import ANY, Exchange, Match, parse_request
from tests.support.fault_proxy.streams import Ending, expired_line
from tests.support.loop_thread import LoopThread

ADDRESS = "127.0.0.1"
SHUTDOWN_SECONDS = 0.1
"""For handlers whose connections are broken already."""


class Plane(Protocol):
    """The API server behind: the part of a control plane that the proxy needs."""

    @property
    def url(self) -> str: ...
    @property
    def ca(self) -> Path:
        """PEM of the authority of its certificate; not read if `url` is plain http."""

    @property
    def admin_token(self) -> str: ...


class FaultProxy:
    """One proxy. Made by `fault_proxy`."""

    def __init__(self, plane: Plane, *, folder: Path, tls: bool) -> None:
        self._plane = plane
        self._folder = folder
        self._board = Board()
        self._tls = loopback_tls(folder) if tls else None
        self._thread = LoopThread("fault-proxy")
        self._engine, self._runner = self._thread.run(self._start())
        self._site, self.port = self._thread.run(self._listen(0))
        self.url = f"{'https' if tls else 'http'}://{ADDRESS}:{self.port}"
        self.kubeconfig = self.kubeconfig_for(plane.admin_token, name="admin")

    # -- what an operator needs ---------------------------------------------------------------------------------------

    @property
    def ca(self) -> Path | None:
        """PEM of the proxy's own authority; None: it speaks plain http."""
        return None if self._tls is None else self._tls.ca

    def kubeconfig_for(self, token: str, *, name: str, namespace: str = "default") -> Path:
        """A kubeconfig that leads through the proxy with this token; `name` names its file."""
        cluster = {"server": self.url} | ({"certificate-authority": str(self.ca)} if self.ca else {})
        context = {"cluster": "proxy", "user": name, "namespace": namespace}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "proxy", "context": context}],
            "current-context": "proxy",
        }
        path = self._folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        return path

    # -- faults -------------------------------------------------------------------------------------------------------

    def install(self, fault: Fault) -> Installed:
        """Let a fault strike from now on, until its handle's `remove()`."""
        installed = Installed(self._board, fault, self._remove)
        self._thread.run(self._install(installed))
        return installed

    def clear(self) -> None:
        """Remove all faults: the world is well again."""
        for installed in self._thread.call(lambda: list(self._board.installed)):
            installed.remove()

    def remember_lists(self) -> None:
        """Ask the server now for every list that was asked so far, and keep the answers for `StaleList`."""
        self._thread.run(self._remember())

    # -- the log ------------------------------------------------------------------------------------------------------

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All requests so far, in the order in which they came (copies)."""
        return self._board.exchanges()

    @property
    def writes(self) -> tuple[Exchange, ...]:
        """The operator's writes so far; Events, Leases and reviews are none. `writes[k - 1].write == k`."""
        return tuple(exchange for exchange in self.exchanges if exchange.write is not None)

    @property
    def events(self) -> tuple[Seen, ...]:
        """Events of watches as the server sent them, whatever became of them."""
        with self._board.changed:
            return tuple(self._board.events)

    def since(self, mark: int) -> tuple[Exchange, ...]:
        """Requests that came after `mark()` gave this number."""
        return self.exchanges[mark:]

    def mark(self) -> int:
        """A place in the log: now."""
        return len(self.exchanges)

    def open_watches(self, match: Match = ANY) -> int:
        """How many watches are open through the proxy."""
        return self._thread.call(lambda: sum(match(stream.exchange.request) for stream in self._engine.streams))

    def tasks(self) -> int:
        """How many tasks the proxy has on its loop: a measure of what it forgot to end."""
        return self._thread.tasks()

    def wait_for(self, condition: Callable[[], bool], *, what: str, timeout: float = WAIT_SECONDS) -> None:
        """Wait until a condition on the log holds; looked at whenever the log grows. Raises AssertionError."""
        self._board.wait_for(condition, what=what, timeout=timeout)

    def close(self) -> None:
        """Break all connections and end the thread. Nothing that was held back is delivered."""
        self._thread.run(self._stop())
        self._thread.close()

    # -- on the loop --------------------------------------------------------------------------------------------------

    async def _start(self) -> tuple[Engine, web.ServerRunner]:
        engine = Engine(board=self._board, upstream=self._plane.url.rstrip("/"), trust=self._trust())
        runner = web.ServerRunner(engine.server, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        return engine, runner

    def _trust(self) -> ssl.SSLContext | None:
        https = self._plane.url.startswith("https://")
        return ssl.create_default_context(cafile=str(self._plane.ca)) if https else None

    async def _listen(self, port: int) -> tuple[web.TCPSite, int]:
        context = None if self._tls is None else self._tls.context
        site = web.TCPSite(self._runner, ADDRESS, port, ssl_context=context)
        await site.start()
        return site, port or self._runner.addresses[0][1]

    async def _install(self, installed: Installed) -> None:
        self._board.installed.append(installed)
        fault = installed.fault
        streams = [stream for stream in self._engine.streams if fault.match(stream.exchange.request)]
        match fault:
            case CutWatches():
                for stream in streams:
                    stream.end(Ending.BROKEN if fault.abrupt else Ending.ORDERLY)
                    installed.struck()
            case WatchError410():
                for stream in streams:
                    stream.end(Ending.ORDERLY, last=expired_line())
                    installed.struck()
            case ServerAway():
                await self._site.stop()
                self._engine.break_connections()
                installed.struck()

    def _remove(self, installed: Installed) -> None:
        self._thread.run(self._removed(installed))

    async def _removed(self, installed: Installed) -> None:
        if not installed.active:
            return
        installed.active = False
        self._board.installed.remove(installed)
        if isinstance(installed.fault, HalfOpen):
            self._engine.free(installed)
        if isinstance(installed.fault, ServerAway):
            self._site, _ = await self._listen(self.port)
        for stream in self._engine.streams:
            stream.poke()

    async def _remember(self) -> None:
        headers = {"Authorization": f"Bearer {self._plane.admin_token}"}
        connector = TCPConnector(ssl=self._trust() or True)
        async with ClientSession(base_url=self._plane.url, connector=connector, headers=headers) as session:
            for url in self._engine.lists.urls():
                async with session.get(url, raise_for_status=True) as response:
                    request = parse_request("GET", response.url.path, response.url.query, b"")
                    self._engine.lists.keep(request, await response.read())

    async def _stop(self) -> None:
        self._engine.break_connections()
        await self._runner.cleanup()
        await self._engine.close()


@contextmanager
def fault_proxy(plane: Plane, *, tls: bool = True) -> Iterator[FaultProxy]:
    """A proxy before the API server of `plane`, by TLS with an authority of its own, or by plain http."""
    with tempfile.TemporaryDirectory(prefix="trainmaster-fault-proxy-") as folder:
        proxy = FaultProxy(plane, folder=Path(folder), tls=tls)
        try:
            yield proxy
        finally:
            proxy.close()
