"""How points become MLflow metrics: names never collide, values that are no numbers are counted."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.adapters.mlflow.metrics import marker_key, metrics_of, milliseconds
from trainmaster.adapters.mlflow.uri import public_uri
from trainmaster.core.series import Point
from trainmaster.ports.series import KINDS

START = datetime(2026, 1, 1, tzinfo=UTC)


def point(kind: str, *, epoch: int | None = None, **metrics: float) -> Point:
    return Point(generation=3, kind=kind, step=7, epoch=epoch, time=START, metrics=metrics)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("validation", ["val_loss", "epoch", "generation"]),
        ("train", ["train/val_loss", "train/epoch", "train/generation"]),
        ("test", ["test/val_loss", "test/epoch", "test/generation"]),
    ],
)
def test_names_by_kind_with_the_marker_last(kind: str, keys: list[str]) -> None:
    metrics = metrics_of(point(kind, epoch=2, val_loss=0.5))
    assert list(metrics.items()) == list(zip(keys, (0.5, 2.0, 3.0), strict=True))
    assert keys[-1] == marker_key(kind)


def test_nan_stays_infinities_go_and_both_are_counted() -> None:
    metrics = metrics_of(point("train", loss=math.nan, norm=math.inf, low=-math.inf, fine=1.0))
    assert set(metrics) == {"train/loss", "train/fine", "train/nonfinite_values", "train/generation"}
    assert math.isnan(metrics["train/loss"])
    assert metrics["train/nonfinite_values"] == 3.0


def test_a_point_without_metrics_has_its_marker() -> None:
    assert metrics_of(point("validation")) == {"generation": 3.0}


names = st.one_of(
    st.sampled_from(["epoch", "generation", "nonfinite_values", "loss"]).flatmap(
        lambda name: st.sampled_from(["", "train/", "test/", "metrics/", "metrics/train/"]).map(lambda p: p + name)
    ),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,5}(/[A-Za-z0-9_\-]{1,5}){0,2}", fullmatch=True),
)


@given(st.lists(st.tuples(st.sampled_from(KINDS), names), unique=True, max_size=30))
def test_no_two_metrics_share_a_key(told: list[tuple[str, str]]) -> None:
    keys = [key for kind, name in told for key in metrics_of(replace(point(kind, epoch=1), metrics={name: 1.0}))]
    own = {prefix + name for prefix in ("", "train/", "test/") for name in ("epoch", "generation")}
    theirs = [key for key in keys if key not in own]
    assert len(theirs) == len(set(theirs)) == len(told)


def test_a_clock_before_1970_gives_a_time_that_mlflow_takes() -> None:
    assert milliseconds(datetime(1969, 1, 1, tzinfo=UTC)) == 0
    assert milliseconds(START) == 1767225600000


def test_messages_show_no_password() -> None:
    assert public_uri("https://me:secret@mlflow.example:8443/base") == "https://mlflow.example:8443/base"
    assert public_uri("sqlite:////home/me/mlflow.db") == "sqlite:////home/me/mlflow.db"
