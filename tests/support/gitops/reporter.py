"""A launch that trains: it reports step after step, with the token of its pod."""

from __future__ import annotations

from tests.support.pod_reporter import Launcher, crash, point
from tests.support.scene import Run

TOTAL_STEPS = 100


class Reporter:
    """Reports of one launch; entries are numbered as they come."""

    def __init__(self, run: Run, *, launch: int) -> None:
        self._launcher = Launcher(run, launch=launch)
        self._seq = 0

    def step(self, step: int, *, crashed: bool = False) -> None:
        """Tell that a step was trained; if `crashed`, also that the process crashed after it."""
        entries = [point(self._seq + 1, step=step)]
        if crashed:
            entries.append(crash(self._seq + 2))
        self._seq += len(entries)
        status, reply = self._launcher.report(*entries, step=step, totalSteps=TOTAL_STEPS)
        assert (status, reply["haveSeq"]) == (200, self._seq)
