"""The progress of local runs on stderr: one line that moves on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TextIO

from trainmaster.api.base import decimal_string
from trainmaster.api.conditions import SUCCEEDED, Phase, Reason
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.core.snapshot import Event
from trainmaster.shell.progress import Progress

SHOWN = (
    ("train_loss", "train_loss"),
    ("val_loss", "val_loss"),
    ("val_accuracy", "val_acc"),
    ("val_f1", "val_f1"),
)
"""Metrics of the line, and their short names there."""
PLAIN_SECONDS = 10
"""Without a terminal: a line per epoch, but no more often than this, and at least one when steps move on."""
CLEAR = "\r\x1b[K"


def progress_line(progress: Progress) -> str | None:
    """`Training: 34% 51/150 [06:36<12:41, train_loss=..., val_loss=..., ...]`; None before it runs."""
    trainer, status = progress.trainer, progress.run.status
    if trainer is None or status.start_time is None:
        return None
    if trainer.total_steps is None and not trainer.step and progress.newest is None:
        return None
    # What has completed has done all of it, whatever step it reported last.
    whole = _completed(progress.run)
    step = trainer.total_steps if whole and trainer.total_steps else trainer.step
    done, total = (trainer.epoch, trainer.total_epochs) if trainer.total_epochs else (step, trainer.total_steps)
    if whole and total is not None:
        done = total
    percent = f"{100 * step // trainer.total_steps}%" if trainer.total_steps else "100%" if whole else "?%"
    left = "00:00" if whole else "?"
    if trainer.total_steps and trainer.steps_per_second:
        left = clock((trainer.total_steps - step) / trainer.steps_per_second)
    inside = ", ".join([f"{clock(_active_seconds(progress))}<{left}", *_metrics(progress)])
    return f"Training: {percent} {done}/{total if total is not None else '?'} [{inside}]"


def _completed(run: TrainingRun) -> bool:
    return any(c.type == SUCCEEDED and c.reason == Reason.COMPLETED for c in run.status.conditions)


def _active_seconds(progress: Progress) -> float:
    """Seconds of training, over all launches: a night in which it was interrupted is none of them."""
    status = progress.run.status
    if status.running_time is None or status.launch_outcome is not None:
        return status.active_seconds
    return status.active_seconds + (progress.now - status.running_time).total_seconds()


def _metrics(progress: Progress) -> list[str]:
    if progress.newest is None:
        return []
    known = progress.newest.metrics
    named = [f"{short}={decimal_string(known[name], digits=4)}" for name, short in SHOWN if name in known]
    return named or [f"{name}={decimal_string(value, digits=4)}" for name, value in list(known.items())[:4]]


def clock(seconds: float) -> str:
    """Seconds as `mm:ss` or `h:mm:ss`."""
    whole = max(0, math.floor(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


class ProgressPrinter:
    """Writes progress and events of several runs to one stream."""

    def __init__(self, stream: TextIO, *, several: bool) -> None:
        self._stream = stream
        self._moving = stream.isatty()
        self._several = several
        self._last: dict[str, tuple[int, datetime]] = {}
        self._newest: dict[str, Progress] = {}
        self._line_open = False

    def progress(self, progress: Progress) -> None:
        """Show how far a run is."""
        line = progress_line(progress)
        if line is None or progress.run.status.phase in Phase.TERMINAL:
            return
        line = self._prefix(progress.run) + line
        self._newest[progress.run.metadata.uid] = progress
        if self._moving:
            self._stream.write(CLEAR + line)
            self._stream.flush()
            self._line_open = True
        elif self._due(progress):
            self.say(line)

    def event(self, run: TrainingRun, event: Event) -> None:
        """Tell one event."""
        mark = "! " if event.type == "Warning" else ""
        if run.status.phase in Phase.TERMINAL:
            self._last_line(run)
        self.say(f"{self._prefix(run)}{mark}{event.reason}: {event.message}")

    def _last_line(self, run: TrainingRun) -> None:
        """How far it came in the end stays on the screen."""
        newest = self._newest.pop(run.metadata.uid, None)
        line = progress_line(replace(newest, run=run)) if newest is not None else None
        if line is not None:
            self.say(self._prefix(run) + line)

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._stream.write((CLEAR if self._line_open else "") + text + "\n")
        self._stream.flush()
        self._line_open = False

    def _prefix(self, run: TrainingRun) -> str:
        return f"{run.metadata.name}: " if self._several else ""

    def _due(self, progress: Progress) -> bool:
        trainer, uid = progress.trainer, progress.run.metadata.uid
        place = (trainer.epoch if trainer.total_epochs else trainer.step) if trainer else 0
        shown, when = self._last.get(uid, (-1, progress.now - timedelta(days=1)))
        if place == shown or progress.now - when < timedelta(seconds=PLAIN_SECONDS):
            return False
        self._last[uid] = (place, progress.now)
        return True
