"""The newest checkpoint is not always the one to go back to: manifests tell which are known to be good."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.support.checkpoints import captured_state, checkpoint_file, flip_last_byte, newest_step, save, saved_steps
from tests.support.training import store
from trainmaster_trainer.checkpoint import HEALTHY_STEPS
from trainmaster_trainer.manifest import Manifest
from trainmaster_trainer.signature import model_signature


def _health(root: Path, *steps: int, clean_steps: int | None, poison: float = 1.0, launch: int = 1) -> None:
    """Checkpoints with so many clean steps behind them; `poison` is the model's only value."""
    for step in steps:
        mine = store(root, launch=launch, keep_last=1, keep_best=0)
        mine.save(captured_state(step, value=poison), clean_steps=clean_steps)


def _newest_healthy_step(root: Path, *, before_step: int | None = None, launch: int = 1) -> int | None:
    found = store(root, launch=launch).newest_healthy(before_step)
    return None if found is None else found[0].step


def test_the_last_healthy_one_is_kept_however_many_come_after_it(tmp_path: Path) -> None:
    _health(tmp_path, 100, 200, clean_steps=HEALTHY_STEPS)
    _health(tmp_path, 210, 220, clean_steps=HEALTHY_STEPS - 1)
    _health(tmp_path, 230, clean_steps=None)

    assert saved_steps(tmp_path) == [200, 230]
    assert _newest_healthy_step(tmp_path) == 200
    assert newest_step(tmp_path) == 230


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_one_with_numbers_that_are_none_is_never_healthy(tmp_path: Path, poison: float) -> None:
    _health(tmp_path, 100, clean_steps=HEALTHY_STEPS)
    _health(tmp_path, 200, clean_steps=10 * HEALTHY_STEPS, poison=poison)

    assert _newest_healthy_step(tmp_path) == 100
    assert newest_step(tmp_path) == 200


def test_nothing_is_healthy_where_nobody_counted(tmp_path: Path) -> None:
    _health(tmp_path, 100, clean_steps=None)

    assert _newest_healthy_step(tmp_path) is None


def test_one_goes_back_behind_the_step_that_went_wrong_over_all_launches(tmp_path: Path) -> None:
    _health(tmp_path, 100, clean_steps=HEALTHY_STEPS, launch=1)
    _health(tmp_path, 200, clean_steps=HEALTHY_STEPS, launch=2)
    _health(tmp_path, 300, clean_steps=HEALTHY_STEPS, launch=3)

    behind = {
        before: _newest_healthy_step(tmp_path, before_step=before, launch=2) for before in (99, 100, 199, 200, 400)
    }

    assert behind == {99: None, 100: 100, 199: 100, 200: 200, 400: 200}, "step 200 is in no checkpoint of 200 steps"


def test_a_damaged_healthy_one_is_passed_over(tmp_path: Path) -> None:
    _health(tmp_path, 100, clean_steps=HEALTHY_STEPS, launch=1)
    _health(tmp_path, 200, clean_steps=HEALTHY_STEPS, launch=2)

    flip_last_byte(checkpoint_file(tmp_path, 200, launch=2))

    assert _newest_healthy_step(tmp_path, launch=2) == 100


def test_the_manifest_says_what_the_operator_judges_by(tmp_path: Path) -> None:
    captured = captured_state(3) | {"applied": {"d1": 2}}

    manifest = store(tmp_path).save(
        captured,
        val_loss=0.5,
        clean_steps=3,
        metrics={"val_loss": 0.5, "val_accuracy": float("nan"), "f1": float("inf")},
    )

    assert (manifest.clean_steps, manifest.finite, manifest.applied, manifest.metrics, manifest.signature) == (
        3, True, {"d1": 2}, {"val_loss": 0.5}, model_signature(captured["model"]),
    )  # fmt: skip
    assert Manifest.from_json(manifest.to_json(), folder="1") == manifest


def test_a_loss_that_is_no_number_is_neither_best_nor_in_the_way(tmp_path: Path) -> None:
    mine = store(tmp_path, keep_last=1, keep_best=1)

    for step, val_loss in enumerate([float("nan"), 0.5, float("nan"), float("-inf"), None], 1):
        mine.save(captured_state(step), val_loss=val_loss)

    assert saved_steps(tmp_path) == [2, 5]


def test_manifests_of_older_and_newer_versions_are_read(tmp_path: Path) -> None:
    save(tmp_path, 3)
    record = checkpoint_file(tmp_path, 3, suffix=".json")
    fields = json.loads(record.read_text())
    del fields["manifest_sha256"]
    known = ("path", "step", "epoch", "sha256", "size_bytes", "val_loss", "best")

    for version in ({name: fields[name] for name in known}, fields | {"of_tomorrow": [1]}):
        digest = hashlib.sha256(json.dumps(version, sort_keys=True).encode()).hexdigest()
        record.write_text(json.dumps(version | {"manifest_sha256": digest}))
        assert newest_step(tmp_path) == 3
