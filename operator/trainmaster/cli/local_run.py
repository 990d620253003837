"""Driving runs on this machine from a terminal: progress on stderr, Ctrl-C, exit codes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainmaster.adapters.local.inspection import view_run
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.api.conditions import Phase
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from trainmaster.cli.progress import ProgressPrinter
from trainmaster.shell.local import LocalOptions, LocalSession

TRAINER_WARNING = "trainer: WARNING:"
"""How a line of the trainer begins that warns of something."""
WARNINGS_SHOWN = 5


class OptionError(TrainmasterError):
    """An option's value cannot be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Driven:
    """How a session ended."""

    runs: tuple[TrainingRun, ...]
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0 when all succeeded (or stopped early), 130 when interrupted before they had ended, else 1."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_OK if all(run.status.phase == Phase.SUCCEEDED for run in self.runs) else EXIT_FAILED


def local_options(
    *, state_dir: Path, cpus: int | None = None, volumes: Sequence[str] = (), tracking_uri: str | None = None
) -> LocalOptions:
    """Options of a session from the words of a command line. Raises TrainmasterError on a bad one."""
    folders = dict(_volume(text) for text in volumes)
    state = StateDir(state_dir)
    state.prepare()
    return LocalOptions(
        state=state,
        cpus=cpus or len(os.sched_getaffinity(0)),
        volumes=folders,
        tracking_uri=tracking_uri or state.mlflow_uri,
    )


def _volume(text: str) -> tuple[str, Path]:
    claim, equals, folder = text.partition("=")
    if not claim or not equals or not folder:
        message = f"--volume {text!r}: write CLAIM=FOLDER, as in --volume data=/home/me/bars"
        raise OptionError(message)
    if not Path(folder).is_dir():
        message = f"--volume {text!r}: {folder} is no folder; make it, or name another"
        raise OptionError(message)
    return claim, Path(folder).absolute()


def drive(runs: Sequence[TrainingRun], options: LocalOptions) -> Driven:
    """Run TrainingRuns to their end and tell on stderr how it goes. Raises TrainmasterError on what is refused."""
    printer = ProgressPrinter(sys.stderr, several=len(runs) > 1)
    handler = _PrinterHandler(printer)
    logging.getLogger("trainmaster").addHandler(handler)
    try:
        return asyncio.run(_drive(runs, options, printer))
    finally:
        logging.getLogger("trainmaster").removeHandler(handler)


async def _drive(runs: Sequence[TrainingRun], options: LocalOptions, printer: ProgressPrinter) -> Driven:
    session = LocalSession(options, on_progress=printer.progress, on_event=printer.event)
    signals = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            how = "saving a checkpoint and stopping; once more to stop at once" if session.alive else "stopping"
            printer.say(f"{number.name}: {how}")
        session.interrupt(at_once=signals > 1)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    finished = await session.run(runs)
    interrupted = signals > 0 and any(run.status.phase not in Phase.TERMINAL for run in finished)
    if interrupted:
        printer.say("Interrupted: the same command goes on from the last checkpoint.")
    for run in finished:
        if run.status.phase == Phase.SUSPENDED and run.spec.suspend:
            printer.say(f"{run.metadata.name}: suspended by its manifest; set spec.suspend to false to go on.")
        for warning in trainer_warnings(options.state, run):
            printer.say(f"{run.metadata.name}: warning: {warning}")
    return Driven(runs=finished, interrupted=interrupted)


def trainer_warnings(state: StateDir, run: TrainingRun) -> list[str]:
    """What the trainer warned of in the newest launch: its output goes to a log that nobody reads when all is well."""
    view = view_run(state, run.metadata.key)
    logs = [job.log for job in view.jobs if job.launch == run.status.launch and job.log.exists()]
    lines = [line for log in logs for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    found = [line.partition(TRAINER_WARNING)[2].strip() for line in lines if TRAINER_WARNING in line]
    shown = list(dict.fromkeys(found))
    more = [f"and {len(shown) - WARNINGS_SHOWN} more: trainmaster local logs {run.metadata.name}"]
    return shown[:WARNINGS_SHOWN] + (more if len(shown) > WARNINGS_SHOWN else [])


class _PrinterHandler(logging.Handler):
    """Log records as lines between the progress, without a stack that only a developer can use."""

    def __init__(self, printer: ProgressPrinter) -> None:
        super().__init__(level=logging.WARNING)
        self._printer = printer

    def emit(self, record: logging.LogRecord) -> None:
        reason = f": {record.exc_info[1]}" if record.exc_info and record.exc_info[1] else ""
        self._printer.say(f"{record.levelname.lower()}: {record.getMessage()}{reason}")
