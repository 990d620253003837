"""The reporter: a thread that sends the journal to the operator and brings back what it says.

It never blocks the main thread: that learns of answers from `answers`, and says `urgent` when something should not wait
for the next regular report. A server that is away is asked again with growing pauses; training does not notice.
"""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from trainmaster_launcher.entries import Entry
from trainmaster_launcher.http_client import HttpClient
from trainmaster_launcher.journal import Journal
from trainmaster_launcher.log import log
from trainmaster_launcher.messages import Progress
from trainmaster_launcher.plan import PROTOCOL, Plan
from trainmaster_launcher.responses import (
    Elsewhere,
    Failed,
    Gone,
    Refused,
    Response,
    Taken,
    TooLarge,
    backoff,
    confirmed_seq,
)
from trainmaster_launcher.timings import Timings
from trainmaster_launcher.trust import Trust

MAX_ENTRIES: Final = 500
"""The operator takes no more in one report."""
MAX_BATCH_BYTES: Final = 200_000
"""Of entries; with the header a report stays under the operator's 256 KiB."""
STORAGE_WORDS: Final = 300
"""Characters of what is told of storage: it becomes a sentence in status."""
JITTER: Final = 0.2
"""Share of a pause that chance takes or gives: pods that start together must not report together for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Where the launch is now."""

    plan: Plan
    where: Progress
    storage: str = ""
    """What storage refuses now, in words; empty: nothing."""

    def to_wire(self, *, last_seq: int, after_seq: int) -> dict[str, Any]:
        """The report without its entries."""
        wire = {
            "protocol": PROTOCOL,
            "runUid": self.plan.run_uid,
            "launch": self.plan.launch,
            "generation": self.plan.generation,
            "phase": self.where.phase,
            "step": self.where.step,
            "epoch": self.where.epoch,
            "totalSteps": self.where.total_steps,
            "totalEpochs": self.where.total_epochs,
            "lastSeq": last_seq,
            "afterSeq": after_seq,
            # Half a character of somebody's message would have the whole report refused.
            "storage": self.storage.encode(errors="replace").decode()[:STORAGE_WORDS] or None,
        }
        return {name: value for name, value in wire.items() if value is not None}


class Reporter:
    """Sends reports until the launch is gone or the launcher ends."""

    def __init__(
        self, url: str, *, client: HttpClient, header: Header, timings: Timings, wake: Callable[[], None]
    ) -> None:
        self.header = header
        """Replaced by the main thread whenever it changes."""
        self.answers: queue.SimpleQueue[Response] = queue.SimpleQueue()
        self._url = self._base_url = url
        self._name = urlsplit(url).hostname
        self._client = client
        self._timings = timings
        self._wake = wake
        self._journal: Journal | None = None
        self._condition = threading.Condition()
        self._have = 0
        self._said = 0
        self._urgent = False
        self._flushing = False
        self._gone = False
        self._failures = 0
        self._limit = MAX_ENTRIES
        self._skipped: set[int] = set()
        self._logged: str | None = None
        self._random = random.Random()  # noqa: S311 - jitter is no secret
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    @property
    def trust(self) -> Trust:
        """The authorities that replies bring news of."""
        return self._client.trust

    def start(self) -> None:
        """Starts the thread; until `attach` reports carry no entries."""
        self._thread.start()

    def attach(self, journal: Journal) -> None:
        """From now on entries of the journal are sent."""
        self._journal = journal
        self.urgent()

    def urgent(self) -> None:
        """Asks for a report at once, or as soon as a server that is away may be asked again."""
        with self._condition:
            self._urgent = True
            self._condition.notify_all()

    def flush(self, seq: int, *, timeout: float) -> bool:
        """Tries, for `timeout` seconds, to hand over everything up to `seq`."""
        with self._condition:
            self._flushing = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._have >= seq or self._gone, timeout)
            return self._have >= seq

    def _run(self) -> None:
        while True:
            with self._condition:
                self._urgent = False
            batch = self._batch()
            response = self._send(batch)
            pause, patient = self._digest(response, batch)
            self.answers.put(replace(response, have_seq=self._have) if isinstance(response, Taken) else response)
            self._wake()
            if isinstance(response, Gone):
                with self._condition:
                    self._gone = True
                    self._condition.notify_all()
                return
            self._sleep(pause, patient=patient)

    def _batch(self) -> list[Entry]:
        if self._journal is None:
            return []
        batch: list[Entry] = []
        size = 0
        for entry in self._journal.after(self._have, limit=self._limit + len(self._skipped)):
            size += len(entry.to_line())
            if (batch and size > MAX_BATCH_BYTES) or len(batch) == self._limit:
                break
            if entry.seq not in self._skipped:
                batch.append(entry)
        return batch

    def _send(self, batch: list[Entry]) -> Response:
        last_seq = self._journal.last_seq if self._journal else 0
        header, digest = self.header.to_wire(last_seq=last_seq, after_seq=self._said), self.trust.digest
        trusts = {"trusts": digest} if digest else {}
        report = header | trusts | {"entries": [entry.to_wire() for entry in batch]}
        body = json.dumps(report, separators=(",", ":"), allow_nan=False).encode()
        response = self._client.post(self._url, body, name=self._name)
        if not isinstance(response, Elsewhere):
            return response
        target = self._leader(response.location)
        if target is None:
            return Failed(reason=f"not the leader, and Location is {response.location!r}")
        self._url = target
        response = self._client.post(target, body, name=self._name)
        return Failed(reason="the leader moves") if isinstance(response, Elsewhere) else response

    def _leader(self, location: str | None) -> str | None:
        """Where the leader is; never a step down from https to http: the token travels there.

        Of `location` only host and port count, and over https whoever is there must prove to be the operator.
        """
        try:
            there, base = urlsplit(location or ""), urlsplit(self._base_url)
        except ValueError:
            return None
        return base._replace(netloc=there.netloc).geturl() if there.hostname and there.scheme == base.scheme else None

    def _digest(self, response: Response, batch: list[Entry]) -> tuple[float, bool]:
        """Remembers what the answer says; the pause until the next report, and whether it is to be kept."""
        if isinstance(response, Taken):
            return self._taken(response, batch), False
        if isinstance(response, TooLarge):
            if self._limit == 1:
                self._skipped |= {entry.seq for entry in batch}
                log(f"report server refuses entry {[entry.seq for entry in batch]} as too large: left out")
            self._limit = max(min(self._limit, len(batch)) // 2, 1)
            return self._timings.report_gap, True
        self._failures += 1
        self._url = self._base_url
        pause = backoff(self._failures, first=self._timings.backoff_first, last=self._timings.backoff_last)
        if isinstance(response, Refused):
            self._log_once(f"report refused: {response.reason}; training goes on")
            return self._jittered(self._timings.refused_retry), True
        if isinstance(response, Failed):
            self._log_once(f"report server is away: {response.reason}; training goes on")
            if response.after is not None:
                return response.after, True
        return self._jittered(pause), True

    def _taken(self, response: Taken, batch: list[Entry]) -> float:
        if self._failures:
            log("report server is back")
        if response.trust and self.trust.learn(response.trust):
            log("a reply brought the operator's authorities: what they sign is trusted from now on")
        self._failures = 0
        self._logged = None
        self._limit = min(self._limit * 2, MAX_ENTRIES)
        with self._condition:
            self._have = confirmed_seq(
                said=response.have_seq, before=self._said, have=self._have, sent=batch[-1].seq if batch else 0
            )
            self._said = response.have_seq
            self._condition.notify_all()
        if batch and self._journal is not None and self._journal.after(self._have, limit=1):
            return 0.0
        return self._jittered(response.pace)

    def _sleep(self, pause: float, *, patient: bool) -> None:
        """Waits for the pause to pass, or for something urgent; a patient wait is cut short by the end only."""
        started = time.monotonic()
        gap = self._timings.report_gap if pause else 0.0
        with self._condition:
            if patient:
                flushing = self._flushing
                limit = min(pause, self._timings.backoff_first) if flushing else pause
                self._condition.wait_for(lambda: self._flushing and not flushing, limit)
            else:
                self._condition.wait_for(lambda: self._urgent or self._flushing, pause)
        # A burst of urgent things, or of attempts at the end, becomes one report.
        time.sleep(max(gap - (time.monotonic() - started), 0.0))

    def _jittered(self, pause: float) -> float:
        return pause * self._random.uniform(1 - JITTER, 1 + JITTER)

    def _log_once(self, message: str) -> None:
        if message != self._logged:
            self._logged = message
            log(message)
