"""Runs in files keep an API server's rules, and whatever a newer version wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import T0, Field, at, run_of, status_of
from trainmaster.adapters.local.objects import ObjectStore, UpdateRefusedError
from trainmaster.adapters.local.state_dir import StateDir, StateDirError
from trainmaster.api.conditions import Phase
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus
from trainmaster.ports.cluster import ConflictError

KEY = Key("default", "market")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(StateDir(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "objects" / "default" / "market.json"


def wanted(**spec: Field) -> TrainingRun:
    return run_of(meta={"uid": ""}, **spec)


def facts(run: TrainingRun) -> tuple[int, str]:
    return run.metadata.generation, run.metadata.resource_version


def add(file: Path, *path: str, **items: Any) -> None:  # noqa: ANN401 - JSON
    """Adds items below a path of the stored object, as a newer version would have written them."""
    raw = json.loads(file.read_text())
    place = raw
    for name in path:
        place = place[name]
    place.update(items)
    file.write_text(json.dumps(raw))


class TestApply:
    def test_creates_with_an_identity_of_its_own(self, store: ObjectStore) -> None:
        created = store.apply(wanted(), now=T0)
        assert facts(created) == (1, "1")
        assert created.metadata.creation_timestamp == T0
        assert len(created.metadata.uid) == 36
        assert created.status.observed_generation == -1
        assert store.get(KEY) == created

    def test_again_changes_nothing(self, store: ObjectStore, file: Path) -> None:
        created = store.apply(wanted(), now=T0)
        before = file.read_bytes()
        assert store.apply(wanted(), now=at(60)) == created
        assert file.read_bytes() == before

    def test_of_a_change_opens_a_generation_and_keeps_identity_and_status(self, store: ObjectStore) -> None:
        created = store.apply(wanted(), now=T0)
        store.write_status(created, status_of(crashes=3))
        changed = store.apply(wanted(suspend=True), now=at(60))
        assert facts(changed) == (2, "3")
        assert changed.metadata.uid == created.metadata.uid
        assert changed.metadata.creation_timestamp == T0
        assert changed.spec.suspend
        assert changed.status.crashes == 3

    def test_of_labels_is_no_new_generation(self, store: ObjectStore) -> None:
        store.apply(wanted(), now=T0)
        labelled = store.apply(run_of(meta={"labels": {"team": "fx"}}), now=T0)
        assert facts(labelled) == (1, "2")
        assert labelled.metadata.labels == {"team": "fx"}

    def test_of_another_training_is_refused_with_both_ways_out(self, store: ObjectStore, file: Path) -> None:
        store.write_status(store.apply(wanted(), now=T0), status_of())
        before = file.read_bytes()
        with pytest.raises(UpdateRefusedError) as caught:
            store.apply(wanted(hyperparameters={"learning_rate": 1}), now=T0)
        message = str(caught.value)
        assert message.startswith("default/market: spec.hyperparameters is immutable")
        assert "metadata.name" in message
        assert "spec.rerun" in message
        assert file.read_bytes() == before

    def test_before_anything_was_trained_is_taken(self, store: ObjectStore) -> None:
        store.write_status(store.apply(wanted(), now=T0), TrainingRunStatus(phase=Phase.FAILED))
        mended = store.apply(wanted(hyperparameters={"learning_rate": 1}), now=T0)
        assert facts(mended) == (2, "3")
        assert mended.spec.hyperparameters == {"learning_rate": 1}

    def test_of_another_training_with_another_rerun_is_taken(self, store: ObjectStore) -> None:
        store.apply(wanted(), now=T0)
        again = store.apply(wanted(hyperparameters={"learning_rate": 1}, rerun="2"), now=T0)
        assert facts(again) == (2, "2")
        assert again.spec.hyperparameters == {"learning_rate": 1}


class TestStatus:
    def test_is_written_whole_and_only_the_version_rises(self, store: ObjectStore) -> None:
        created = store.apply(wanted(), now=T0)
        written = store.write_status(created, status_of(crashes=1))
        assert facts(written) == (1, "2")
        assert store.get(KEY) == written
        assert written.spec == created.spec

    def test_of_a_stale_version_is_a_conflict(self, store: ObjectStore, file: Path) -> None:
        created = store.apply(wanted(), now=T0)
        store.write_status(created, status_of(crashes=1))
        before = file.read_bytes()
        with pytest.raises(ConflictError, match="changed since version 1"):
            store.write_status(created, status_of(crashes=2))
        assert file.read_bytes() == before

    def test_of_another_run_under_the_name_is_a_conflict(self, store: ObjectStore, file: Path) -> None:
        created = store.apply(wanted(), now=T0)
        file.unlink()
        with pytest.raises(ConflictError):
            store.write_status(created, status_of())
        store.apply(wanted(), now=T0)
        with pytest.raises(ConflictError):
            store.write_status(created, status_of())


class TestNewerVersion:
    """An older version reads and writes what a newer one has stored, and loses nothing of it."""

    def test_fields_of_spec_neither_stop_it_nor_get_lost(self, store: ObjectStore, file: Path) -> None:
        created = store.apply(wanted(), now=T0)
        add(file, "spec", promotion={"alias": "champion"})
        add(file, "spec", "recovery", rules=[1])
        run = store.get(KEY)
        assert run is not None
        assert run.spec == created.spec
        store.write_status(run, status_of(crashes=1))
        spec = json.loads(file.read_text())["spec"]
        assert spec["promotion"] == {"alias": "champion"}
        assert spec["recovery"]["rules"] == [1]

    def test_items_of_status_survive_raw(self, store: ObjectStore, file: Path) -> None:
        run = store.write_status(store.apply(wanted(), now=T0), status_of())
        add(file, "status", promotion={"version": 3})
        add(file, "status", "plan", seed=7)
        run = store.get(KEY) or run
        store.write_status(run, run.status.model_copy(update={"crashes": 1}))
        status = json.loads(file.read_text())["status"]
        assert status["promotion"] == {"version": 3}
        assert status["plan"]["seed"] == 7
        assert status["crashes"] == 1

    def test_items_of_metadata_and_of_the_object_survive(self, store: ObjectStore, file: Path) -> None:
        run = store.apply(wanted(), now=T0)
        add(file, "metadata", finalizers=["x"])
        add(file, extra=1)
        store.write_status(store.get(KEY) or run, status_of())
        raw = json.loads(file.read_text())
        assert raw["metadata"]["finalizers"] == ["x"]
        assert raw["extra"] == 1


class TestDamage:
    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "{}", '"run"', '{"metadata": {"name": "market"}}', "\N{BROKEN BAR}\x00"]
    )
    def test_a_file_that_is_no_run_is_named_with_the_way_out(self, store: ObjectStore, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True)
        file.write_text(text)
        with pytest.raises(StateDirError) as caught:
            store.get(KEY)
        assert str(file) in str(caught.value)
        assert "move it away" in str(caught.value)

    def test_what_is_not_there_is_none(self, store: ObjectStore) -> None:
        assert store.get(KEY) is None
        assert list(store) == []


def test_all_runs_come_by_namespace_and_name(store: ObjectStore, file: Path) -> None:
    for name, namespace in (("b", "default"), ("a", "default"), ("z", "alpha")):
        store.apply(run_of(meta={"name": name, "namespace": namespace}), now=T0)
    (file.parent / ".a.json.123.tmp").write_text("torn")
    assert [str(key) for key in store] == ["alpha/z", "default/a", "default/b"]
