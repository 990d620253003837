"""Every tracker, here MLflow on a real SQLite file: one run however often opened, every point once, nothing lost."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from trainmaster.adapters.mlflow.tracker import MlflowTracker
from trainmaster.adapters.mlflow.uri import sqlite_uri
from trainmaster.api.trainingrun import TrackingStatus
from trainmaster.core.series import Point
from trainmaster.ports.series import Kind
from trainmaster.ports.tracking import TrackedRun, TrackingRefusedError, TrackingUnreachableError

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sqlite_uri(tmp_path_factory.mktemp("mlflow, with a space") / "mlflow.db")


@pytest.fixture(scope="module")
def tracker(uri: str) -> MlflowTracker:
    return MlflowTracker(uri)


@pytest.fixture
def run() -> TrackedRun:
    return TrackedRun(
        uid=str(uuid4()),
        namespace="team-a",
        name="market",
        rerun=0,
        workload="market-classifier",
        start_time=START,
        hyperparameters={"learning_rate": 5e-5, "epochs": 150, "amp": False, "scheduler": "cosine"},
        data_source="package://bars/eurusd.csv",
    )


@pytest.fixture
def ref(tracker: MlflowTracker, run: TrackedRun) -> TrackingStatus:
    return tracker.open(run)


@pytest.fixture
def client(uri: str, tracker: MlflowTracker, ref: TrackingStatus) -> MlflowClient:
    """A second pair of eyes; asks for `ref`, so that the database is there."""
    return MlflowClient(tracking_uri=uri)


def point(step: int, *, kind: Kind = "validation", metrics: dict[str, float] | None = None, **fields: int) -> Point:
    return Point(
        generation=fields.get("generation", 1),
        kind=kind,
        step=step,
        epoch=fields.get("epoch"),
        time=START + timedelta(seconds=step),
        metrics={"val_loss": 1 / (step + 1)} if metrics is None else metrics,
    )


def history(client: MlflowClient, ref: TrackingStatus, key: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client.get_metric_history(ref.run_id, key))


def test_opening_again_finds_the_same_run_in_every_process(tracker: MlflowTracker, uri: str, run: TrackedRun) -> None:
    first = tracker.open(run)
    assert tracker.open(run) == first
    assert MlflowTracker(uri).open(run) == first


def test_a_rerun_is_a_run_of_its_own_in_the_same_experiment(
    tracker: MlflowTracker, client: MlflowClient, run: TrackedRun, ref: TrackingStatus
) -> None:
    again = tracker.open(replace(run, rerun=2))
    assert again.run_id != ref.run_id
    assert again.experiment_id == ref.experiment_id
    assert client.get_experiment(ref.experiment_id).name == "trainmaster/team-a"
    assert [client.get_run(one.run_id).info.run_name for one in (ref, again)] == ["market", "market-2"]


def test_the_run_tells_what_was_trained_and_how(client: MlflowClient, run: TrackedRun, ref: TrackingStatus) -> None:
    data = client.get_run(ref.run_id).data
    assert data.params == {"learning_rate": "5e-05", "epochs": "150", "amp": "False", "scheduler": "cosine"}
    assert data.tags["trainmaster.run_uid"] == run.uid
    assert data.tags["trainmaster.rerun"] == "0"
    assert data.tags["trainmaster.workload"] == "market-classifier"
    assert data.tags["trainmaster.data_source"] == "package://bars/eurusd.csv"


def test_params_that_a_kill_left_out_are_added_and_those_that_differ_stop_nothing(
    tracker: MlflowTracker, client: MlflowClient, run: TrackedRun, ref: TrackingStatus
) -> None:
    more = {f"p{number}": number for number in range(150)}
    tracker.open(replace(run, hyperparameters={"epochs": 151, "text": "x" * 7000, **more}))
    params = client.get_run(ref.run_id).data.params
    assert params["epochs"] == "150"
    assert len(params) == 4 + 1 + 150


def test_a_second_run_that_a_lost_answer_left_is_deleted_and_the_one_with_metrics_stays(
    tracker: MlflowTracker, client: MlflowClient, run: TrackedRun, ref: TrackingStatus
) -> None:
    tracker.log(ref, [point(1)])
    tags = client.get_run(ref.run_id).data.tags
    older = client.create_run(ref.experiment_id, start_time=1, tags=tags)
    assert tracker.open(run) == ref
    assert client.get_run(older.info.run_id).info.lifecycle_stage == "deleted"
    found = client.search_runs([ref.experiment_id], f"tags.`trainmaster.run_uid` = '{run.uid}'", ViewType.ACTIVE_ONLY)
    assert [one.info.run_id for one in found] == [ref.run_id]


def test_steps_are_read_back_by_kind(tracker: MlflowTracker, ref: TrackingStatus) -> None:
    assert tracker.logged_steps(ref, "validation") == frozenset()
    tracker.log(ref, [point(0), point(7), point(7, kind="train"), point(9, kind="test", metrics={})])
    assert tracker.logged_steps(ref, "validation") == {0, 7}
    assert tracker.logged_steps(ref, "train") == {7}
    assert tracker.logged_steps(ref, "test") == {9}


def test_a_point_logged_again_is_in_the_history_once(
    tracker: MlflowTracker, uri: str, client: MlflowClient, ref: TrackingStatus
) -> None:
    odd = {"nan": math.nan, "inf": math.inf, "loss": 0.5}
    tracker.log(ref, [point(1, metrics=odd, epoch=1)])
    tracker.log(ref, [point(1, metrics=odd, epoch=1), point(2, metrics=odd, epoch=2)])
    MlflowTracker(uri).log(ref, [point(2, metrics=odd, epoch=2)])
    keys = client.get_run(ref.run_id).data.metrics
    counts = {key: Counter(step for step, _ in history(client, ref, key)) for key in keys}
    assert counts == {key: {1: 1, 2: 1} for key in ("nan", "loss", "epoch", "generation", "nonfinite_values")}


def test_more_metrics_than_one_call_takes_are_all_there(
    tracker: MlflowTracker, client: MlflowClient, ref: TrackingStatus
) -> None:
    metrics = {f"m{number}": float(number) for number in range(64)}
    tracker.log(ref, [point(step, metrics=metrics) for step in range(40)])
    assert tracker.logged_steps(ref, "validation") == set(range(40))
    assert history(client, ref, "m63") == [(step, 63.0) for step in range(40)]


def test_names_that_mlflow_refuses_and_clocks_before_1970_lose_no_point(
    tracker: MlflowTracker, client: MlflowClient, ref: TrackingStatus
) -> None:
    odd = {"a//b": 1.0, "a/../b": 2.0, "c/": 3.0, "x" * 100: 4.0}
    tracker.log(ref, [replace(point(1, metrics=odd), time=datetime(1960, 1, 1, tzinfo=UTC))])
    assert sorted(client.get_run(ref.run_id).data.metrics.values()) == [1.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("outcome", "status"), [("Completed", "FINISHED"), ("StoppedEarly", "FINISHED"), ("Failed", "FAILED")]
)
def test_closing_sets_status_and_end_and_late_points_still_come_in(
    tracker: MlflowTracker, client: MlflowClient, run: TrackedRun, *, outcome: str, status: str
) -> None:
    ref = tracker.open(replace(run, uid=str(uuid4())))
    for _ in range(2):
        tracker.close(ref, outcome=outcome, end_time=START + timedelta(hours=1))
    info = client.get_run(ref.run_id).info
    assert (info.status, info.end_time - info.start_time) == (status, 3_600_000)
    tracker.log(ref, [point(3)])
    assert tracker.logged_steps(ref, "validation") == {3}


def artifacts(client: MlflowClient, ref: TrackingStatus, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    return {
        found.path: Path(client.download_artifacts(ref.run_id, found.path, str(folder))).read_bytes()
        for found in client.list_artifacts(ref.run_id)
    }


def test_files_are_kept_once_and_a_new_process_knows_which(
    tracker: MlflowTracker, uri: str, client: MlflowClient, ref: TrackingStatus, tmp_path: Path
) -> None:
    picture, model = tmp_path / "curves.png", tmp_path / "model, exported.onnx"
    picture.write_bytes(b"picture")
    model.write_bytes(b"model")
    assert tracker.missing(ref, [picture, model]) == (picture, model)
    tracker.keep(ref, picture)
    assert MlflowTracker(uri).missing(ref, [picture, model]) == (model,)
    for _ in range(2):
        tracker.keep(ref, model)
    assert tracker.missing(ref, [picture, model]) == ()
    assert artifacts(client, ref, tmp_path / "seen") == {"curves.png": b"picture", model.name: b"model"}


def test_a_copy_that_was_cut_short_is_made_again(
    tracker: MlflowTracker, client: MlflowClient, ref: TrackingStatus, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"half")
    tracker.keep(ref, file)
    file.write_bytes(b"half and the other half")
    assert tracker.missing(ref, [file]) == (file,)
    tracker.keep(ref, file)
    assert artifacts(client, ref, tmp_path / "seen") == {"model.onnx": b"half and the other half"}


def test_a_rerun_has_files_of_its_own(
    tracker: MlflowTracker, client: MlflowClient, run: TrackedRun, ref: TrackingStatus, tmp_path: Path
) -> None:
    for number, of in enumerate((ref, again := tracker.open(replace(run, rerun=1)))):
        file = tmp_path / str(number) / "model.onnx"
        file.parent.mkdir()
        file.write_bytes(b"%d" % number)
        assert tracker.missing(of, [file]) == (file,)
        tracker.keep(of, file)
    assert [artifacts(client, of, tmp_path / of.run_id) for of in (ref, again)] == [
        {"model.onnx": b"0"},
        {"model.onnx": b"1"},
    ]


def test_a_file_that_is_gone_is_refused_by_name_and_is_no_trouble_of_the_server(
    tracker: MlflowTracker, ref: TrackingStatus, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.png"
    assert tracker.missing(ref, [gone]) == (gone,)
    with pytest.raises(TrackingRefusedError, match=r"gone\.png cannot be read: No such file"):
        tracker.keep(ref, gone)


def test_a_package_that_only_the_artifact_store_needs_is_named(
    tracker: MlflowTracker, client: MlflowClient, ref: TrackingStatus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    where = client.create_experiment(f"on-s3-{uuid4()}", artifact_location="s3://nobody/artifacts")
    there = TrackingStatus(experiment_id=where, run_id=client.create_run(where).info.run_id)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")
    with pytest.raises(TrackingRefusedError, match=r"a package is needed to write: .*boto3"):
        tracker.keep(there, file)


def test_a_deleted_experiment_is_refused_with_the_way_out(
    tracker: MlflowTracker, client: MlflowClient, run: TrackedRun
) -> None:
    there = tracker.open(replace(run, namespace="gone"))
    client.delete_experiment(there.experiment_id)
    with pytest.raises(TrackingRefusedError, match=f"mlflow experiments restore -x {there.experiment_id}"):
        tracker.open(replace(run, namespace="gone"))


def test_a_run_that_is_not_there_is_refused(tracker: MlflowTracker, ref: TrackingStatus) -> None:
    with pytest.raises(TrackingRefusedError, match="RESOURCE_DOES_NOT_EXIST"):
        tracker.log(TrackingStatus(experiment_id=ref.experiment_id, run_id="0" * 32), [point(1)])


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, run: TrackedRun) -> None:
    diary = tmp_path / "diary.db"
    diary.write_text("dear diary, " * 1000)
    with pytest.raises(TrackingRefusedError, match="no usable SQLite database"):
        MlflowTracker(sqlite_uri(diary)).open(run)
    assert diary.read_text().startswith("dear diary")


def test_a_path_that_sqlalchemy_would_misread_is_refused(tmp_path: Path, run: TrackedRun) -> None:
    with pytest.raises(TrackingRefusedError, match="choose another folder"):
        MlflowTracker(sqlite_uri(tmp_path / "50%20" / "m.db")).open(run)


def test_a_folder_that_cannot_be_made_is_trouble_that_may_pass(tmp_path: Path, run: TrackedRun) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingUnreachableError, match="make the folder writable"):
        MlflowTracker(sqlite_uri(tmp_path / "file" / "m.db")).open(run)
