"""What training from Python keeps and shows: epochs as JSON, one line of progress."""

from __future__ import annotations

import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster_trainer.epoch_metrics import EpochMetrics
from trainmaster_trainer.progress_line import ProgressLine, clock, progress_line
from trainmaster_trainer.recording import RecordingSession

VALIDATION = {
    "train_loss": 0.7,
    "val_loss": 0.6,
    "val_accuracy": 0.55,
    "val_f1": 0.5,
    "learning_rate": 1e-3,
    "grad_norm": 2.0,
}
TRAIN = {"epoch_seconds": 4.0, "max_rss_bytes": 1e9}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tell_epoch(session: RecordingSession, epoch: int) -> None:
    session.progress("training", step=epoch * 10, epoch=epoch, total_steps=20, total_epochs=2)
    session.point("validation", step=epoch * 10, epoch=epoch, metrics=VALIDATION)
    session.point("train", step=epoch * 10, epoch=epoch, metrics=TRAIN)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=8, max_size=8),
)
def test_an_epoch_is_json_whatever_its_numbers_are(numbers: list[float]) -> None:
    names = ("train_loss", "val_loss", "val_acc", "val_f1", "lr", "grad_norm", "seconds", "memory_bytes")
    epoch = EpochMetrics.model_validate({"epoch": 1, "step": 3, **dict(zip(names, numbers, strict=True))})

    text = epoch.model_dump_json()

    assert EpochMetrics.model_validate_json(text).model_dump_json() == text
    assert json.loads(text, parse_constant=pytest.fail)["epoch"] == 1


def test_numbers_that_json_has_not_are_words() -> None:
    epoch = EpochMetrics.of_points(epoch=1, step=3, validation={"val_loss": math.nan, "train_loss": math.inf}, train={})

    data = json.loads(epoch.model_dump_json())
    assert (data["val_loss"], data["train_loss"], data["val_acc"]) == ("NaN", "Inf", "NaN")


def test_an_epoch_is_what_its_two_points_tell() -> None:
    session = RecordingSession(applied={})

    tell_epoch(session, 1)

    assert session.epochs == (
        EpochMetrics(
            epoch=1,
            step=10,
            train_loss=0.7,
            val_loss=0.6,
            val_acc=0.55,
            val_f1=0.5,
            lr=1e-3,
            grad_norm=2.0,
            seconds=4.0,
            memory_bytes=1e9,
        ),
    )


def test_an_epoch_of_before_a_restart_has_no_time() -> None:
    session = RecordingSession(applied={"Adjust-1": 3})
    session.point("validation", step=10, epoch=1, metrics=VALIDATION, generation=1)
    tell_epoch(session, 2)

    assert [(one.epoch, one.seconds) for one in session.epochs][1] == (2, 4.0)
    assert math.isnan(session.epochs[0].seconds)
    assert session.applied_directives == {"Adjust-1": 3}


def test_train_points_within_an_epoch_and_test_points_are_no_epochs() -> None:
    session = RecordingSession(applied={})

    session.point("train", step=5, epoch=0, metrics={"loss": 1.0})
    session.point("test", step=20, epoch=2, metrics={"test_accuracy": 0.5})

    assert session.epochs == ()


def test_the_line_looks_like_that_of_the_source() -> None:
    line = progress_line(
        done=1, total=1, share=1.0, seconds=396, metrics={"train_loss": 0.69312, "val_loss": 0.7, "val_acc": 0.5}
    )

    assert line == "Training: 100% 1/1 [06:36, train_loss=0.6931, val_loss=0.7, val_acc=0.5]"
    assert progress_line(done=0, total=9, share=0.049, seconds=1, metrics={}) == "Training:   4% 0/9 [00:01]"


@pytest.mark.parametrize(("seconds", "shown"), [(0, "00:00"), (61.9, "01:01"), (3_661, "1:01:01")])
def test_time_is_told_in_minutes_and_hours(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_file_gets_a_line_for_each_epoch() -> None:
    stream = io.StringIO()
    session = RecordingSession(applied={}, line=ProgressLine(stream))

    for epoch in (1, 2):
        tell_epoch(session, epoch)
    session.close()

    lines = stream.getvalue().splitlines()
    assert [line.split(" [")[0] for line in lines] == ["Training:  50% 1/2", "Training: 100% 2/2"]
    assert all(line.endswith("train_loss=0.7, val_loss=0.6, val_acc=0.55, val_f1=0.5]") for line in lines)


def test_a_terminal_gets_one_line_that_is_drawn_over() -> None:
    stream = Terminal()
    session = RecordingSession(applied={}, line=ProgressLine(stream))

    for epoch in (1, 2):
        tell_epoch(session, epoch)
    session.close()

    drawn = stream.getvalue()
    assert drawn.count("\n") == 1
    assert drawn.endswith("\n")
    assert drawn.count("\r") >= 2
    assert drawn.rsplit("\r", 1)[1].startswith("Training: 100% 2/2")
