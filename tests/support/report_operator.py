"""The part of an operator that takes reports, with certificates of a Secret, on a port that stays the same."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

from tests.support.loop_thread import LoopThread
from tests.support.runs import run_of, status_of
from tests.support.stored_secret import StoredSecret
from trainmaster.adapters.kubernetes.tls_secret import TlsSecret
from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.api.objects import Key
from trainmaster.api.plan import Plan
from trainmaster.api.protocol import EntryType
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.ports.identity import LaunchIdentity
from trainmaster.shell.report_desk import ReportDesk
from trainmaster.shell.report_listener import ReportServer
from trainmaster.shell.report_server import Leadership, ReportHandler

Wire = dict[str, Any]

SECRET = Key("ops", "report-tls")
SECRET_PATH = "/api/v1/namespaces/ops/secrets/report-tls"


class ReportOperator:
    """Takes reports of these plans' launches, each with its run's UID for a token. Any thread may call it."""

    def __init__(
        self,
        plans: list[Wire],
        *,
        secret: StoredSecret,
        address: str = "127.0.0.1",
        names: frozenset[str] = frozenset({"127.0.0.1"}),
        leadership: Leadership | None = None,
    ) -> None:
        self.series = MemorySeriesStore()
        self.answered: list[int] = []
        self.tokens: list[str] = []
        self._plans = {plan["runUid"]: plan for plan in plans}
        self._runs = {uid: run_of(meta={"uid": uid}, status=status_of()) for uid in self._plans}
        self._secret, self._names, self._leadership = secret, names, leadership
        self._loop = LoopThread("report-operator")
        self._address = address
        with socket.create_server((address, 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.tls: TlsSecret
        self._server: ReportServer | None = None

    @property
    def url(self) -> str:
        """Where to post reports."""
        return f"https://{self._address}:{self.port}/v1/reports"

    def now(self) -> datetime:
        """The time; it is its own clock."""
        return datetime.now(UTC)

    async def identify(self, token: str) -> LaunchIdentity | None:
        """Whose token it is; it is its own authenticator."""
        self.tokens.append(token)
        if token not in self._runs:
            return None
        return LaunchIdentity(run_uid=token, launch=1, namespace="default", pod_uid=token)

    def start(self) -> None:
        """A new process: it reads the Secret and listens."""
        self._loop.run(self._start())

    def stop(self) -> None:
        """Its end: all connections are closed. What was reported is kept, as if by another replica."""
        if self._server is not None:
            self._loop.run(self._server.stop())
            self._server = None

    def look(self) -> None:
        """Let it look at the Secret."""
        self._loop.run(self.tls.look())

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._loop.close()

    def steps(self, uid: str) -> list[int]:
        """Steps of the points that have arrived from a run, in order of their numbers."""
        entries = self._loop.call(lambda: self.series.entries(uid, rerun=0, launch=1))
        points = self._loop.call(lambda: self.series.points(uid, rerun=0, kind="train"))
        assert len({entry.seq for entry in entries}) == len(entries), "each once"
        return [point.step for point in points]

    def verdicts(self, uid: str) -> int:
        """How many verdicts have arrived from a run."""
        entries = self._loop.call(lambda: self.series.entries(uid, rerun=0, launch=1))
        return sum(entry.type == EntryType.VERDICT for entry in entries)

    def have_seq(self, uid: str) -> int:
        """Up to which entry all have arrived."""
        return self._loop.call(lambda: self.series.have_seq(uid, 1))

    async def _start(self) -> None:
        self.tls = TlsSecret(client=self._secret.client, secret=SECRET, names=self._names, clock=self)
        await self.tls.look()
        desk = ReportDesk(
            series=self.series,
            clock=self,
            find_run=self._runs.get,
            localise=lambda plan: Plan.model_validate(self._plans[plan.run_uid]),
            on_report=_nobody,
        )
        handler = ReportHandler(
            desk=desk,
            authenticator=self,
            leadership=self._leadership,
            on_answer=lambda status, _seconds: self.answered.append(status),
            trusted=lambda: self.tls.trusted,
        )
        self._server = ReportServer(handler, tls=self.tls.context)
        await self._server.start(socket.create_server((self._address, self.port)))


def _nobody(_run: TrainingRun) -> None:
    """Nobody waits for reports."""
