"""The launcher's own life: settings, lock, plan, training, last word."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Final

from trainmaster_launcher import entries
from trainmaster_launcher.channel import Channel
from trainmaster_launcher.conversation import Conversation
from trainmaster_launcher.descendants import become_subreaper, end_descendants
from trainmaster_launcher.entries import Entry
from trainmaster_launcher.errors import EXIT_OK, EXIT_RETRY, GoneError, LauncherError, RetryError
from trainmaster_launcher.finish import termination_message, write_termination_message
from trainmaster_launcher.http_client import HttpClient
from trainmaster_launcher.intents import Intents
from trainmaster_launcher.journal import Journal
from trainmaster_launcher.lock import take_lock
from trainmaster_launcher.log import log
from trainmaster_launcher.loop import Loop
from trainmaster_launcher.messages import Progress
from trainmaster_launcher.outcome import DISRUPTED, RETRY, Verdict
from trainmaster_launcher.plan_keeper import PlanKeeper
from trainmaster_launcher.reports import Header, Reporter
from trainmaster_launcher.settings import Settings, read_settings
from trainmaster_launcher.start import confirmed_plan
from trainmaster_launcher.supervisor import Supervisor
from trainmaster_launcher.timings import Timings
from trainmaster_launcher.trust import Trust

FLUSH_MARGIN: Final = 1.0
"""Seconds of the grace period left for exiting."""


def run(timings: Timings | None = None) -> int:
    """Runs the launcher as the environment says; its exit code. Call it from the main thread, once per process."""
    timings = timings or Timings()
    try:
        settings = read_settings(os.environ)
        become_subreaper()
        return _Launch(settings, timings=timings).run()
    except LauncherError as error:
        log(str(error))
        return error.exit_code


class _Launch:
    """One launch, from the lock to the last word."""

    def __init__(self, settings: Settings, *, timings: Timings) -> None:
        self._settings = settings
        self._timings = timings
        self._loop = Loop()
        self._trust = Trust(given=settings.ca_pem, file=settings.ca_file)
        client = HttpClient(token_file=settings.token_file, trust=self._trust, timeout=timings.request)
        header = Header(plan=settings.plan, where=Progress())
        self._reporter = Reporter(
            settings.report_url, client=client, header=header, timings=timings, wake=self._loop.wake
        )

    def run(self) -> int:
        lock = self._take_lock()
        self._reporter.start()
        plan = confirmed_plan(self._settings.plan, reporter=self._reporter, loop=self._loop, timings=self._timings)
        log(f"launch {plan.launch}, plan of generation {plan.generation}: {' '.join(plan.argv())}")
        plan_keeper = PlanKeeper(retry=self._timings.storage_retry)
        plan_keeper.keep(plan)
        self._trust.recall(plan.root)
        self._trust.keep(plan.folder)
        journal = Journal(plan.folder)
        journal.open()
        intents = Intents(plan.folder)
        intents.open()
        conversation = Conversation(
            plan=plan, plan_keeper=plan_keeper, journal=journal, intents=intents, urgent=self._reporter.urgent
        )
        self._reporter.attach(journal)
        try:
            verdict = self._train(conversation, journal=journal, lock=lock)
        except GoneError as error:
            log(str(error))
            return EXIT_RETRY
        last_seq = self._record(verdict, conversation=conversation, journal=journal)
        if lock is not None:
            # Nothing trains any more, and the journal is complete: the next launcher need not wait for the report.
            os.close(lock)
        self._flush(last_seq, verdict=verdict, grace=plan.grace_seconds)
        log(f"launch {plan.launch} ends: {verdict.outcome}, {verdict.reason} {verdict.message}")
        return verdict.exit_code

    def _take_lock(self) -> int | None:
        path = self._settings.lock_file
        return None if path is None else take_lock(path, wait=self._timings.lock_wait, loop=self._loop)

    def _train(self, conversation: Conversation, *, journal: Journal, lock: int | None) -> Verdict:
        """Trains until there is a verdict. Raises GoneError, with no process left."""
        channel = Channel(self._loop, answer=conversation.answer)
        supervisor = Supervisor(
            loop=self._loop,
            reporter=self._reporter,
            journal=journal,
            conversation=conversation,
            channel=channel,
            timings=self._timings,
            lock=lock,
        )
        try:
            return supervisor.run()
        except GoneError:
            # At once: another launch may train already, and this one has nothing to save that counts.
            end_descendants(terminate_wait=0, kill_wait=self._timings.kill_wait)
            raise
        except RetryError as error:
            return Verdict(outcome=RETRY, reason=DISRUPTED, message=str(error))
        finally:
            channel.close()

    def _record(self, verdict: Verdict, *, conversation: Conversation, journal: Journal) -> int:
        """Journals the verdict and writes the termination message; the verdict's number."""
        plan = conversation.plan
        where = conversation.where
        entry = Entry(
            type="verdict",
            generation=plan.generation,
            time=entries.now(),
            step=where.step,
            epoch=where.epoch,
            verdict=verdict.to_wire(),
        )
        journal.append(entry, durable=True)
        message = termination_message(
            verdict,
            plan=plan,
            last_seq=journal.last_seq,
            step=where.step,
            checkpoints=[each.checkpoint for each in journal.entries("checkpoint") if each.checkpoint],
            crashes=len(journal.entries("crash")),
        )
        write_termination_message(self._settings.termination_log, message)
        phase = "done" if verdict.exit_code == EXIT_OK else "stopping"
        self._reporter.header = replace(self._reporter.header, plan=plan, where=replace(where, phase=phase))
        return journal.last_seq

    def _flush(self, seq: int, *, verdict: Verdict, grace: float) -> None:
        """Hands the last entries over, as long as the operator can be waited for."""
        timeout = self._timings.flush_retry if verdict.exit_code == EXIT_RETRY else self._timings.flush
        if self._loop.terminating_since is not None:
            left = self._loop.terminating_since + grace - FLUSH_MARGIN - time.monotonic()
            timeout = min(timeout, max(left, 0.0))
        if not self._reporter.flush(seq, timeout=timeout):
            log(f"the operator has not confirmed all entries up to {seq}: the termination message has the verdict")
