"""Watches one living process: hands SIGTERM on, ends it after the grace period, finds hangs."""

from __future__ import annotations

import signal
import time
from typing import Final

from trainmaster_launcher.conversation import Conversation
from trainmaster_launcher.descendants import living_descendants
from trainmaster_launcher.errors import RetryError
from trainmaster_launcher.hang import exceeded_limit
from trainmaster_launcher.log import log
from trainmaster_launcher.loop import Loop
from trainmaster_launcher.process import TrainingProcess
from trainmaster_launcher.stacks import dump_stacks
from trainmaster_launcher.timings import Timings

MARGIN_SHARE: Final = 0.25
"""Of a short grace period, no more than this is kept for the last report."""


def seconds_to_save(grace: float, *, margin: float) -> float:
    """How long after SIGTERM the training process may take: the grace period but for the last report."""
    return grace - min(margin, grace * MARGIN_SHARE)


class Watch:
    """Call `look` every now and then, and before the process is reaped."""

    def __init__(self, process: TrainingProcess, *, conversation: Conversation, loop: Loop, timings: Timings) -> None:
        self.hung = False
        self.stack: str | None = None
        """Where it hung."""
        self._process = process
        self._conversation = conversation
        self._loop = loop
        self._timings = timings
        self._told = False
        self._killed_at: float | None = None

    def look(self) -> None:
        """One look. Raises RetryError when a killed process does not end."""
        now = time.monotonic()
        if self._killed_at is not None:
            if now > self._killed_at + self._timings.kill_wait:
                message = f"process {self._process.pid} does not end, stuck in the kernel: only a new pod can train"
                raise RetryError(message)
            return
        if self._loop.terminating_since is not None:
            self._terminate(now, since=self._loop.terminating_since)
        else:
            self._find_hang(now)

    def _terminate(self, now: float, *, since: float) -> None:
        if not self._told:
            self._told = True
            log("SIGTERM handed on to the training process")
            self._process.signal(signal.SIGTERM)
        seconds = seconds_to_save(self._conversation.plan.grace_seconds, margin=self._timings.grace_margin)
        if now > since + seconds:
            log(f"the training process did not end within {seconds:g} s: killed")
            self._kill(now)

    def _find_hang(self, now: float) -> None:
        conversation = self._conversation
        phase = conversation.where.phase
        silence = conversation.silence.look(now)
        hello = conversation.hello
        limit = exceeded_limit(
            speaks=hello is not None, phase=phase, silence=silence, limits=conversation.plan.hang_limits
        )
        if hello is None or limit is None:
            return
        log(f"no progress in phase {phase} for {limit:g} s: hung")
        self.hung = True
        pid = hello.pid if hello.pid in living_descendants() else self._process.pid
        signal_number = hello.stack_signal if pid == hello.pid else None
        self.stack = dump_stacks(
            pid, stack_signal=signal_number, tail=self._process.tail, wait=self._timings.stack_wait
        )
        self._kill(time.monotonic())

    def _kill(self, now: float) -> None:
        self._killed_at = now
        self._process.signal(signal.SIGKILL)
