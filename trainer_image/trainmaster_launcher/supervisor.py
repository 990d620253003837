"""The launch from its first process to its verdict."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from trainmaster_launcher import entries
from trainmaster_launcher.channel import Channel
from trainmaster_launcher.conversation import Conversation
from trainmaster_launcher.descendants import end_descendants, reap
from trainmaster_launcher.entries import Entry
from trainmaster_launcher.journal import Journal
from trainmaster_launcher.log import log
from trainmaster_launcher.loop import Loop
from trainmaster_launcher.outcome import (
    DISRUPTED,
    RETRY,
    CrashSignature,
    Verdict,
    crash_signature,
    verdict_of_end,
)
from trainmaster_launcher.plan import Plan, supersedes, with_lease
from trainmaster_launcher.process import Ended, TrainingProcess
from trainmaster_launcher.reports import Header, Reporter
from trainmaster_launcher.responses import Taken
from trainmaster_launcher.restart import Crash, Restart, answer_crash
from trainmaster_launcher.settings import OWN_VARIABLES
from trainmaster_launcher.start import answers_of, plan_of_reply
from trainmaster_launcher.timings import Timings
from trainmaster_launcher.watch import Watch

MAX_ENVIRONMENT_PLAN: Final = 100_000
"""Bytes; Linux takes no variable of over 128 KiB. The welcome carries the plan anyway."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """How one process ended."""

    ended: Ended
    hung: bool
    stack: str | None
    lines: tuple[str, ...]
    signature: CrashSignature


class Supervisor:
    """Runs processes until there is a verdict. Every method is for the main thread."""

    def __init__(
        self,
        *,
        loop: Loop,
        reporter: Reporter,
        journal: Journal,
        conversation: Conversation,
        channel: Channel,
        timings: Timings,
        lock: int | None,
    ) -> None:
        self._loop = loop
        self._reporter = reporter
        self._journal = journal
        self._conversation = conversation
        self._channel = channel
        self._timings = timings
        self._lock = lock
        self._have = 0

    def run(self) -> Verdict:
        """Trains until the launch has a verdict. Raises GoneError when the operator ends it."""
        previous: Crash | None = None
        fruitless = 0
        while True:
            death = self._one_process()
            verdict = verdict_of_end(
                code=death.ended.code,
                hung=death.hung,
                done=self._conversation.done,
                terminating=self._loop.terminating,
                lines=death.lines,
            )
            progressed = self._conversation.end()
            if verdict is not None:
                return verdict
            crash = Crash(signature=death.signature, stepped=self._conversation.stepped, progressed=progressed)
            fruitless = 1 if progressed else fruitless + 1
            verdict = self._answer(crash, death=death, previous=previous, fruitless=fruitless)
            if verdict is not None:
                return verdict
            previous = crash

    def _answer(self, crash: Crash, *, death: Death, previous: Crash | None, fruitless: int) -> Verdict | None:
        """Records a crash; the verdict that it brings, or None once the pause before the next start is over."""
        restarts = len(self._journal.entries("crash"))
        seq = self._record_crash(death)
        deadline = time.monotonic() + self._timings.lease_wait
        while True:
            answer = answer_crash(
                crash,
                previous=previous,
                fruitless=fruitless,
                restarts=restarts,
                lease=self._conversation.plan.restart_lease,
                backoff_first=self._timings.backoff_first,
                backoff_last=self._timings.backoff_last,
            )
            if isinstance(answer, Verdict):
                return answer
            if isinstance(answer, Restart):
                return self._pause(answer.delay, why=crash.signature)
            if self._loop.terminating:
                return _disrupted()
            if self._have >= seq or time.monotonic() > deadline:
                return answer.verdict
            self._turn()

    def _record_crash(self, death: Death) -> int:
        signature = death.signature
        where = self._conversation.where
        crash = {
            "kind": signature.kind,
            "code": signature.code,
            "signal": signature.signal,
            "phase": where.phase,
            "step": where.step if self._conversation.hello else None,
            "lines": list(death.lines),
            "stack": death.stack,
        }
        log(f"training process crashed in phase {where.phase}, step {where.step}: {signature}")
        present = {name: value for name, value in crash.items() if value is not None}
        return self._append(replace(self._entry("crash"), step=where.step, epoch=where.epoch, crash=present))

    def _pause(self, delay: float, *, why: CrashSignature) -> Verdict | None:
        log(f"restarting {f'in {delay:g} s' if delay else 'at once'} after {why}")
        deadline = time.monotonic() + delay
        while not self._loop.terminating:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._turn(left)
        return _disrupted()

    def _turn(self, timeout: float | None = None) -> None:
        """Waits for one thing to happen, and hears what the operator said."""
        tick = self._timings.tick
        self._loop.wait(tick if timeout is None else min(timeout, tick))
        self._hear()

    def _hear(self) -> None:
        for answer in answers_of(self._reporter):
            if isinstance(answer, Taken):
                self._have = answer.have_seq
                self._journal.confirm(answer.have_seq)
                if answer.trust:
                    self._reporter.trust.keep(self._conversation.plan.folder)
                plan = plan_of_reply(answer, own=self._conversation.plan)
                if plan is not None:
                    self._take_plan(plan)
        old, where = self._reporter.header, self._conversation.where
        new = Header(plan=self._conversation.plan, where=where, storage=self._conversation.storage_trouble())
        self._reporter.header = new
        if (new.where.phase, new.storage) != (old.where.phase, old.storage):
            self._reporter.urgent()

    def _take_plan(self, new: Plan) -> None:
        old = self._conversation.plan
        if supersedes(new, old):
            self._conversation.plan = new
            self._conversation.plan_keeper.keep(new)
            self._channel.broadcast(self._conversation.plan_line("plan"))
        elif new.generation == old.generation and new.restart_lease != old.restart_lease:
            self._conversation.plan = with_lease(old, new.restart_lease)

    def _one_process(self) -> Death:
        """Starts a process and waits for its end; then nothing of it is left."""
        self._conversation.begin()
        number = len(self._journal.entries("start")) + 1
        keep_open = () if self._lock is None else (self._lock,)
        process = TrainingProcess(self._conversation.plan.argv(), environment=self._environment(), keep_open=keep_open)
        self._append(replace(self._entry("start"), start=number))
        watch = Watch(process, conversation=self._conversation, loop=self._loop, timings=self._timings)
        ended = None
        while ended is None:
            self._turn()
            watch.look()
            status = reap().get(process.pid)
            ended = None if status is None else process.reaped(status)
        end_descendants(terminate_wait=self._timings.terminate_wait, kill_wait=self._timings.kill_wait)
        self._channel.drain()
        process.drain()
        signature = crash_signature(
            code=ended.code, signal_number=ended.signal, hung=watch.hung, last_line=process.tail.last_error
        )
        return Death(ended=ended, hung=watch.hung, stack=watch.stack, lines=process.tail.lines, signature=signature)

    def _environment(self) -> Mapping[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
        environment |= self._conversation.plan.env
        plan = json.dumps(self._conversation.plan_line("plan")["plan"], separators=(",", ":"))
        if len(plan.encode()) <= MAX_ENVIRONMENT_PLAN:
            environment["TRAINMASTER_PLAN"] = plan
        environment["TRAINMASTER_SOCKET"] = str(self._channel.path)
        # Into a pipe Python writes by the block: what a killed process printed last would be lost.
        environment.setdefault("PYTHONUNBUFFERED", "1")
        return environment | python_path(environment)

    def _entry(self, entry_type: str) -> Entry:
        return Entry(type=entry_type, generation=self._conversation.plan.generation, time=entries.now())

    def _append(self, entry: Entry) -> int:
        self._journal.append(entry, durable=True)
        self._reporter.urgent()
        return self._journal.last_seq


def python_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Where foreign code finds the SDK if the launcher runs from a zipapp: nothing else of ours is installed then."""
    root = Path(__file__).parents[1]
    if root.is_dir():
        return {}
    paths = [path for path in (environment.get("PYTHONPATH"), str(root)) if path]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def _disrupted() -> Verdict:
    return Verdict(outcome=RETRY, reason=DISRUPTED, message="ended by SIGTERM")
