"""The progress line, and how it is printed on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.runs import T0, Field, at, point_of, run_of, status_of, trainer_of
from trainmaster.api.conditions import Condition
from trainmaster.cli.progress import CLEAR, PLAIN_SECONDS, ProgressPrinter, clock, progress_line
from trainmaster.core.snapshot import Event
from trainmaster.shell.progress import Progress

LINE = re.compile(r"Training: (\d+|\?)% \d+/(\d+|\?) \[(\d+:)?\d\d:\d\d<((\d+:)?\d\d:\d\d|\?)(, [\w.]+=[-+.\w]+)*\]")


def progress_of(
    *,
    step: int = 51,
    seconds: float = 396,
    metrics: dict[str, float] | None = None,
    name: str = "market",
    **status: Field,
) -> Progress:
    """A run that trains one epoch per step; `status` replaces fields of it."""
    spoken = {"train_loss": 0.51234, "val_loss": 0.6, "val_accuracy": 0.5551, "val_f1": 0.4, "epoch": 51.0}
    metrics = spoken if metrics is None else metrics
    base: dict[str, Any] = {"phase": "Running", "start_time": T0, "running_time": T0}
    return Progress(
        run=run_of(status=status_of(**base | status), meta={"name": name, "uid": name}),
        trainer=trainer_of(
            step=step, epoch=step, total_steps=150, total_epochs=150, steps_per_second=99 / 761 if step else None
        ),
        newest=replace(point_of(step, kind="validation"), metrics=metrics) if metrics else None,
        now=at(seconds),
    )


def completed() -> dict[str, Any]:
    condition = Condition(type="Succeeded", status="True", reason="Completed", last_transition_time=T0)
    return {"phase": "Succeeded", "conditions": (condition,)}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestLine:
    def test_is_the_one_of_the_manual(self) -> None:
        line = "Training: 34% 51/150 [06:36<12:41, train_loss=0.5123, val_loss=0.6, val_acc=0.5551, val_f1=0.4]"
        assert progress_line(progress_of()) == line
        assert LINE.fullmatch(line)

    def test_none_before_a_report_or_a_start(self) -> None:
        assert progress_line(Progress(run=run_of(), trainer=None, newest=None, now=T0)) is None
        assert progress_line(progress_of(start_time=None)) is None

    def test_none_while_nothing_is_known_of_the_way(self) -> None:
        early = Progress(run=progress_of().run, trainer=trainer_of(step=0, total_steps=None), newest=None, now=at(1))
        assert progress_line(early) is None

    def test_without_rate_and_metrics(self) -> None:
        assert progress_line(progress_of(step=0, seconds=2, metrics={})) == "Training: 0% 0/150 [00:02<?]"

    def test_steps_count_where_there_are_no_epochs(self) -> None:
        line = progress_line(Progress(run=progress_of().run, trainer=trainer_of(step=7), newest=None, now=at(1)))
        assert line == "Training: 7% 7/100 [00:01<?]"

    def test_a_way_of_unknown_length(self) -> None:
        trainer = trainer_of(step=7, total_steps=None)
        line = progress_line(Progress(run=progress_of().run, trainer=trainer, newest=None, now=at(1)))
        assert line == "Training: ?% 7/? [00:01<?]"

    def test_other_metrics_are_shown_where_ours_are_not(self) -> None:
        line = progress_line(progress_of(metrics={"mel": 0.25, "gate": float("nan"), "a": 1, "b": 2, "c": 3}))
        assert line is not None
        assert line.endswith("mel=0.25, gate=NaN, a=1, b=2]")
        assert LINE.fullmatch(line)

    def test_a_completed_run_is_at_its_end_whatever_it_reported_last(self) -> None:
        line = progress_line(progress_of(step=149, metrics={}, **completed()))
        assert line == "Training: 100% 150/150 [06:36<00:00]"

    def test_a_run_that_stopped_early_stays_where_it_stopped(self) -> None:
        condition = Condition(type="Succeeded", status="True", reason="StoppedEarly", last_transition_time=T0)
        line = progress_line(progress_of(metrics={}, phase="Succeeded", conditions=(condition,)))
        assert line == "Training: 34% 51/150 [06:36<12:41]"

    def test_time_is_time_of_training_over_all_launches(self) -> None:
        night = progress_of(metrics={}, seconds=36_010, active_seconds=50, running_time=at(36_000))
        assert progress_line(night) == "Training: 34% 51/150 [01:00<12:41]"
        ended = progress_of(metrics={}, seconds=90_000, active_seconds=50, launch_outcome="Completed")
        assert progress_line(ended) == "Training: 34% 51/150 [00:50<12:41]"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "00:00"), (0.9, "00:00"), (61, "01:01"), (3599, "59:59"), (3600, "1:00:00"), (90_000, "25:00:00")],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


class TestPlain:
    """A pipe, a file, a log of CI: lines that stay."""

    def printer(self, *, several: bool = False) -> tuple[io.StringIO, ProgressPrinter]:
        stream = io.StringIO()
        return stream, ProgressPrinter(stream, several=several)

    def test_a_line_per_epoch_but_not_more_often_than_every_ten_seconds(self) -> None:
        stream, printer = self.printer()
        for second in range(30):
            printer.progress(progress_of(step=second // 2, seconds=second))
        lines = stream.getvalue().splitlines()
        assert [line.split()[2] for line in lines] == ["0/150", "5/150", "10/150"]
        assert all(LINE.fullmatch(line) for line in lines)

    def test_no_second_line_of_one_epoch(self) -> None:
        stream, printer = self.printer()
        for second in range(0, 300, PLAIN_SECONDS):
            printer.progress(progress_of(step=3, seconds=second))
        assert len(stream.getvalue().splitlines()) == 1

    def test_no_escape_ever(self) -> None:
        stream, printer = self.printer()
        printer.progress(progress_of())
        printer.event(progress_of().run, Event(type="Warning", reason="Crashed", message="once"))
        assert "\x1b" not in stream.getvalue()
        assert "\r" not in stream.getvalue()
        assert stream.getvalue().splitlines()[-1] == "! Crashed: once"

    def test_several_runs_are_told_apart_and_paced_each(self) -> None:
        stream, printer = self.printer(several=True)
        printer.progress(progress_of(name="a"))
        printer.progress(progress_of(name="b"))
        printer.event(progress_of(name="b").run, Event(type="Normal", reason="Running", message="training"))
        assert [line.split(":")[0] for line in stream.getvalue().splitlines()] == ["a", "b", "b"]

    def test_the_end_is_shown_before_the_verdict_though_a_line_was_not_due(self) -> None:
        stream, printer = self.printer()
        printer.progress(progress_of(step=1, seconds=1))
        printer.progress(progress_of(step=149, seconds=3))
        ended = progress_of(**completed()).run
        printer.event(ended, Event(type="Normal", reason="Completed", message="Succeeded: all done"))
        lines = stream.getvalue().splitlines()
        assert [line[:23] for line in lines] == [
            "Training: 0% 1/150 [00:",
            "Training: 100% 150/150 ",
            "Completed: Succeeded: a",
        ]

    def test_after_the_end_nothing_is_shown(self) -> None:
        stream, printer = self.printer()
        printer.progress(progress_of(**completed()))
        assert stream.getvalue() == ""


class TestTerminal:
    def test_one_line_that_moves(self) -> None:
        stream = Terminal()
        printer = ProgressPrinter(stream, several=False)
        printer.progress(progress_of(step=1, seconds=0.1))
        printer.progress(progress_of(step=1, seconds=0.2))
        first, second = stream.getvalue().removeprefix(CLEAR).split(CLEAR)
        assert LINE.fullmatch(first)
        assert LINE.fullmatch(second)
        assert "\n" not in stream.getvalue()

    def test_what_stays_takes_the_place_of_what_moves(self) -> None:
        stream = Terminal()
        printer = ProgressPrinter(stream, several=False)
        printer.say("before")
        printer.progress(progress_of())
        printer.say("after")
        printer.say("last")
        text = stream.getvalue()
        assert text.startswith("before\n" + CLEAR + "Training")
        assert text.endswith(CLEAR + "after\nlast\n")

    def test_the_last_line_stays(self) -> None:
        stream = Terminal()
        printer = ProgressPrinter(stream, several=False)
        printer.progress(progress_of(step=149))
        run = progress_of(**completed()).run
        printer.event(run, Event(type="Normal", reason="Completed", message="Succeeded"))
        kept = [line.rpartition(CLEAR)[2] for line in stream.getvalue().split("\n")]
        assert kept[0].startswith("Training: 100% 150/150")
        assert kept[1] == "Completed: Succeeded"


def test_the_clock_of_a_line_is_that_of_its_moment() -> None:
    later = progress_of(seconds=396 + 60)
    assert later.now - T0 == timedelta(seconds=456)
    assert (progress_line(later) or "").startswith("Training: 34% 51/150 [07:36<")
