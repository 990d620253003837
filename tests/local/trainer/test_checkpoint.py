"""A checkpoint is whole or not there; a damaged one is passed over; the disk may fail at any write."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.checkpoints import captured_state, checkpoint_file, flip_last_byte, newest_step, save, saved_steps
from tests.support.training import STEPS, newest_digest, start, store
from trainmaster_trainer.checkpoint import CheckpointError, final_state_digest
from trainmaster_trainer.errors import ConfigurationError, StorageError
from trainmaster_trainer.state import FORMAT


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    manifest = store(tmp_path).save(captured_state(7, epoch=2, value=1.5), val_loss=0.25, best=True)

    found = store(tmp_path, launch=2).newest()

    assert found is not None
    assert found[0] == manifest
    assert (manifest.path, manifest.step, manifest.epoch, manifest.val_loss, manifest.best) == (
        "1/step-000000007-epoch-0002.pt", 7, 2, 0.25, True,
    )  # fmt: skip
    assert manifest.size_bytes == (tmp_path / manifest.path).stat().st_size
    assert found[1]["model"]["weight"].tolist() == [1.5, 1.5, 1.5]


def test_without_a_folder_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert store(tmp_path / "nowhere").newest() is None


def _cut(path: Path, content: bytes | None = None) -> None:
    path.write_bytes(path.read_bytes()[:20] if content is None else content)


def _claim_another_step(path: Path) -> None:
    path.write_text(path.read_text().replace('"step": 9', '"step": 8'))


def _replace_with_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        pytest.param(".pt", _cut, id="file cut"),
        pytest.param(".pt", lambda path: _cut(path, b""), id="file empty"),
        pytest.param(".pt", flip_last_byte, id="a bit of the file flipped"),
        pytest.param(".pt", Path.unlink, id="file gone"),
        pytest.param(".json", _cut, id="manifest cut"),
        pytest.param(".json", lambda path: _cut(path, b""), id="manifest empty"),
        pytest.param(".json", lambda path: _cut(path, b"[1]"), id="manifest of another kind"),
        pytest.param(".json", lambda path: _cut(path, b"\xff\xfe"), id="manifest no text"),
        pytest.param(".json", _claim_another_step, id="manifest changed"),
        pytest.param(".json", _replace_with_folder, id="manifest unreadable"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    tmp_path: Path, suffix: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 3, 6, 9)

    damage(checkpoint_file(tmp_path, 9, suffix=suffix))

    assert newest_step(tmp_path) == 6
    assert "step-000000009-epoch-0000" in caplog.text
    assert "passed over" in caplog.text


def test_a_file_without_a_manifest_was_never_committed(tmp_path: Path) -> None:
    save(tmp_path, 3, 6)

    checkpoint_file(tmp_path, 6, suffix=".json").unlink()

    assert newest_step(tmp_path) == 3


def test_a_manifest_copied_into_another_launch_is_not_believed(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (tmp_path / "2").mkdir()

    shutil.copy(checkpoint_file(tmp_path, 3, suffix=".json"), tmp_path / "2")
    checkpoint_file(tmp_path, 3, suffix=".json").unlink()

    assert newest_step(tmp_path, launch=2) is None


def test_the_newest_of_all_launches_up_to_this_one_is_taken(tmp_path: Path) -> None:
    save(tmp_path, 5, 10, launch=1)
    save(tmp_path, 7, launch=2)
    save(tmp_path, 12, launch=11)
    (tmp_path / "logs").mkdir()

    assert newest_step(tmp_path, launch=2) == 10
    assert newest_step(tmp_path, launch=11) == 12


def test_of_two_of_one_step_the_later_launch_wins(tmp_path: Path) -> None:
    save(tmp_path, 5, launch=2)
    save(tmp_path, 5, launch=10)

    found = store(tmp_path, launch=10).newest()

    assert found is not None
    assert found[0].launch == 10


def test_folders_that_cannot_be_listed_are_no_reason_to_start_from_scratch(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file where the folder should be")

    with pytest.raises(StorageError, match="cannot be listed"):
        store(tmp_path / "root").newest()


def test_a_newer_format_is_refused_not_ignored(tmp_path: Path) -> None:
    store(tmp_path).save({**captured_state(3), "format": FORMAT + 1}, val_loss=None, best=False)

    with pytest.raises(ConfigurationError, match=f"has format {FORMAT + 1}, this trainer reads format {FORMAT}"):
        store(tmp_path).newest()


def test_the_newest_and_the_best_are_kept_in_ones_own_folder_only(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, launch=1)
    mine = store(tmp_path, launch=2, keep_last=2, keep_best=1)

    for step, val_loss in [(5, 0.9), (6, 0.1), (7, 0.5), (8, None), (9, 0.4), (10, None)]:
        mine.save(captured_state(step), val_loss=val_loss, best=False)

    assert saved_steps(tmp_path, 1) == [1, 2, 3, 4]
    assert saved_steps(tmp_path, 2) == [6, 9, 10]


def test_keeping_no_best_keeps_the_newest(tmp_path: Path) -> None:
    mine = store(tmp_path, keep_last=1, keep_best=0)

    for step, val_loss in [(1, 0.1), (2, 0.9), (3, None)]:
        mine.save(captured_state(step), val_loss=val_loss, best=False)

    assert saved_steps(tmp_path) == [3]


def test_damaged_newer_checkpoints_do_not_push_out_the_good_one(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30)
    for step in (20, 30):
        checkpoint_file(tmp_path, step).write_bytes(b"damaged")
    assert newest_step(tmp_path) == 10

    save(tmp_path, 15, keep_last=1)

    assert newest_step(tmp_path) == 15


def _failing_after(count: int, code: int) -> Callable[[int], None]:
    """An fsync that fails from the n-th call on: a disk that is full."""
    calls = iter(range(10**6))

    def fsync(descriptor: int) -> None:
        if next(calls) >= count:
            raise OSError(code, os.strerror(code))

    return fsync


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_disk_that_fails_at_any_write_leaves_the_checkpoint_before_it_good(
    tmp_path: Path, code: int, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 3)
    monkeypatch.setattr(os, "fsync", _failing_after(written, code))

    with pytest.raises(CheckpointError, match=f"1/step-000000006.*not written: {os.strerror(code)}"):
        save(tmp_path, 6, keep_last=1)

    monkeypatch.undo()
    assert checkpoint_file(tmp_path, 3).exists()
    assert newest_step(tmp_path) in {3, 6}, "6 counts where only the folder's flush failed, after its commit"
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_a_crash_left_half_written_is_cleaned_up(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (tmp_path / "1" / "step-000000006-epoch-0000.pt.tmp").write_bytes(b"half")
    (tmp_path / "2").mkdir()
    theirs = tmp_path / "2" / "step-000000009-epoch-0000.pt.tmp"
    theirs.write_bytes(b"another launch writes this now")

    store(tmp_path, launch=1).clean()

    assert list(tmp_path.rglob("*.tmp")) == [theirs]


def test_training_goes_on_without_a_disk_but_claims_no_success_without_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    straight, _ = start(tmp_path / "straight")
    straight.run()
    monkeypatch.setattr(os, "fsync", _failing_after(0, errno.ENOSPC))

    monkeypatch.setattr(time, "sleep", lambda _seconds: None)

    engine, session = start(tmp_path / "full", every_steps=7)
    with pytest.raises(CheckpointError, match="the trained model would be lost"):
        engine.run()

    assert session.ended is None
    told = [point["metrics"]["checkpoint_failures"] for point in session.of("train")]
    assert told == sorted(told)
    assert told[-1] > 0
    for step in (5, 7, 10, 14, 15):
        assert re.search(rf"step-{step:09d}.* was not written: No space left on device", caplog.text), step
    for ours, wanted in zip(engine.state.model.parameters(), straight.state.model.parameters(), strict=True):
        assert torch.equal(ours, wanted)


def test_a_disk_that_recovers_gets_the_next_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(10**6))

    def fsync(descriptor: int) -> None:
        if next(calls) < 3:  # the saves at steps 2, 4 and 5
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    engine, session = start(tmp_path, every_steps=2)

    engine.run()

    assert [c["step"] for c in session.checkpoints] == [6, 8, 10, 12, 14, 15]
    assert newest_step(tmp_path) == STEPS


def test_the_digest_sees_one_changed_bit_and_no_file_format(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one.pt", "same.pt", "other.pt"))
    torch.save(captured_state(1, value=1.0), one)
    torch.save(captured_state(1, value=1.0), same, _use_new_zipfile_serialization=False)
    torch.save(captured_state(1, value=1.0 + 2**-23), other)

    assert final_state_digest(one) == final_state_digest(same) != final_state_digest(other)


def test_two_trainings_of_one_seed_have_one_digest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        start(tmp_path / name)[0].run()

    assert newest_digest(tmp_path / "a") == newest_digest(tmp_path / "b")


def test_nothing_in_a_checkpoint_needs_more_than_tensors_numbers_and_text(tmp_path: Path) -> None:
    start(tmp_path)[0].run()

    captured = torch.load(max((tmp_path / "1").glob("*.pt")), weights_only=True)

    parts = {"format", "fingerprint", "model", "optimizer", "step", "epoch", "statistics", "history", "best", "applied"}
    assert parts <= set(captured), "that nothing is missing is what the tests of resuming prove"


def test_the_manifest_is_json_that_people_can_read(tmp_path: Path) -> None:
    save(tmp_path, 3, val_loss=0.5)

    fields = json.loads(checkpoint_file(tmp_path, 3, suffix=".json").read_text())

    assert (fields["step"], fields["val_loss"], fields["path"]) == (3, 0.5, "1/step-000000003-epoch-0000.pt")
    assert len(fields["sha256"]) == len(fields["manifest_sha256"]) == 64
