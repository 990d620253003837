"""Saving beside training gives what saving in the step gives: the same checkpoints, in order, or the error, later."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.training import store
from trainmaster_trainer.checkpoint import CheckpointError, CheckpointStore, final_state_digest
from trainmaster_trainer.manifest import Manifest
from trainmaster_trainer.saver import AsyncSaver, HostCopy
from trainmaster_trainer.state import FORMAT
from trainmaster_trainer.storage import FolderStorage


@dataclass(kw_only=True)
class Training:
    """A model, an optimizer with moments, and what of them a checkpoint holds: live tensors, as the engine's."""

    model: nn.Sequential
    optimizer: torch.optim.Optimizer
    step: int = 0

    def train(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.randn(8, 3)).square().mean().backward()
        self.optimizer.step()
        self.step += 1

    def captured(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "step": self.step,
            "epoch": 0,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "applied": {"d1": 3},
            "random": torch.get_rng_state(),
        }

    def restore(self, captured: dict[str, Any]) -> None:
        self.model.load_state_dict(captured["model"])
        self.optimizer.load_state_dict(captured["optimizer"])
        torch.set_rng_state(captured["random"])


def _training(seed: int = 0) -> Training:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    training = Training(model=model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.1, fused=True))
    training.train()
    return training


class HeldStorage(FolderStorage):
    """A disk that takes its time: writes wait until `released` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.released = threading.Event()
        self.reached = threading.Event()

    def write(self, name: str, content: bytes | memoryview) -> None:
        self.reached.set()
        assert self.released.wait(60)
        super().write(name, content)


class FullStorage(FolderStorage):
    """A disk that is full for the files of some steps."""

    def __init__(self, root: Path, *, full_at: set[int]) -> None:
        super().__init__(root)
        self._full_at = full_at

    def write(self, name: str, content: bytes | memoryview) -> None:
        if int(name.split("-")[1]) in self._full_at:
            raise OSError(28, "No space left on device")
        super().write(name, content)


def _all_outcomes(saver: AsyncSaver) -> list[int | str]:
    """Steps of manifests, and messages of errors, in the order in which they are told."""
    told: list[int | str] = []
    while True:
        try:
            manifests = saver.poll()
        except CheckpointError as error:
            told.append(str(error))
            continue
        if not manifests:
            return told
        told += [manifest.step for manifest in manifests]


def test_it_writes_the_very_state_that_was_submitted_though_training_goes_on(tmp_path: Path) -> None:
    training = _training()
    expected = store(tmp_path / "sync").save(
        training.captured(), val_loss=0.5, best=True, clean_steps=7, metrics={"a": 1}
    )
    held = HeldStorage(tmp_path / "async")
    saver = AsyncSaver(CheckpointStore(held, launch=1, keep_last=3, keep_best=1))

    saver.submit(training.captured(), val_loss=0.5, best=True, clean_steps=7, metrics={"a": 1})
    for _ in range(3):
        training.train()
    held.released.set()
    saver.close()
    (manifest,) = saver.poll()

    ours, theirs = tmp_path / "async" / manifest.path, tmp_path / "sync" / expected.path
    assert final_state_digest(ours) == final_state_digest(theirs)
    facts = [(m.step, m.val_loss, m.best, m.clean_steps, m.metrics, m.finite, m.applied) for m in (manifest, expected)]
    assert facts[0] == facts[1] == (1, 0.5, True, 7, {"a": 1.0}, True, {"d1": 3})


def test_what_it_wrote_restores_model_moments_and_generators(tmp_path: Path) -> None:
    training = _training()
    saver = AsyncSaver(store(tmp_path))
    saver.submit(training.captured())
    saver.close()
    training.train()
    continued = _training(seed=1)

    found = store(tmp_path).newest()
    assert found is not None
    continued.restore(found[1])
    continued.train()

    for ours, wanted in zip(continued.model.parameters(), training.model.parameters(), strict=True):
        assert torch.equal(ours, wanted)


def test_nothing_is_announced_before_its_manifest_is_durable(tmp_path: Path) -> None:
    held = HeldStorage(tmp_path)
    saver = AsyncSaver(CheckpointStore(held, launch=1, keep_last=3, keep_best=1))

    saver.submit(_training().captured())
    assert held.reached.wait(60)
    told, under_way = saver.poll(), saver.pending

    held.released.set()
    saver.drain()
    (manifest,) = saver.poll()
    assert (told, under_way, saver.pending) == ([], True, False)
    found = store(tmp_path).newest()
    assert found is not None
    assert found[0] == manifest
    assert saver.poll() == [], "each is told once"
    saver.close()


def test_a_save_that_comes_while_another_is_under_way_waits_and_none_is_left_out(tmp_path: Path) -> None:
    training = _training()
    held = HeldStorage(tmp_path)
    saver = AsyncSaver(CheckpointStore(held, launch=1, keep_last=9, keep_best=1))
    saver.submit(training.captured())
    timer = threading.Timer(0.2, held.released.set)
    timer.start()

    for _ in range(3):
        training.train()
        saver.submit(training.captured())
    saver.close()
    timer.join()

    assert [manifest.step for manifest in saver.poll()] == [1, 2, 3, 4]
    assert saver.waited_seconds > 0


def test_a_failed_save_is_told_once_in_its_place_and_hides_no_other(tmp_path: Path) -> None:
    training = _training()
    full = FullStorage(tmp_path, full_at={2, 4})
    saver = AsyncSaver(CheckpointStore(full, launch=1, keep_last=9, keep_best=1))

    for _ in range(5):
        saver.submit(training.captured())
        training.train()
    saver.close()

    told = _all_outcomes(saver)
    assert [each for each in told if isinstance(each, int)] == [1, 3, 5]
    assert [str(each).split(" (")[0] for each in (told[1], told[3])] == [
        "checkpoint 1/step-000000002-epoch-0000.pt",
        "checkpoint 1/step-000000004-epoch-0000.pt",
    ]
    assert "No space left on device" in str(told[1])


def test_an_error_that_is_no_storages_reaches_training_as_it_is(tmp_path: Path) -> None:
    captured = _training().captured()
    del captured["step"]
    saver = AsyncSaver(store(tmp_path))

    saver.submit(captured)
    saver.drain()

    with pytest.raises(KeyError, match="step"):
        saver.poll()
    saver.close()


def test_at_the_end_it_saves_in_this_thread_after_what_is_under_way(tmp_path: Path) -> None:
    training = _training()
    saver = AsyncSaver(store(tmp_path))
    saver.submit(training.captured())
    training.train()

    last = saver.save_now(training.captured(), clean_steps=2)

    assert (last.step, last.clean_steps) == (2, 2)
    assert [manifest.step for manifest in saver.poll()] == [1]
    saver.close()


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_poison_marks_the_checkpoint_it_is_in_and_none_after_it(tmp_path: Path, poison: float) -> None:
    training = _training()
    saver = AsyncSaver(store(tmp_path, keep_last=9))
    weight = next(training.model.parameters())
    healthy = weight.detach().clone()

    manifests: list[Manifest] = []
    for value in (poison, 0.0, None):
        with torch.no_grad():
            weight.copy_(healthy)
            if value is not None:
                weight[0, 0] = value
        saver.submit(training.captured())
        saver.drain()
        manifests += saver.poll()
        training.step += 1
    saver.close()

    assert [manifest.finite for manifest in manifests] == [False, True, True]


def test_a_moment_that_is_no_number_counts_though_the_weights_are(tmp_path: Path) -> None:
    training = _training()
    next(iter(training.optimizer.state.values()))["exp_avg_sq"][0] = float("nan")

    assert store(tmp_path).save(training.captured()).finite is False


def test_a_copy_shares_no_memory_keeps_types_and_reuses_its_own() -> None:
    weights = OrderedDict({"w": torch.ones(2, 3).t(), "half": torch.ones(2, dtype=torch.bfloat16)})
    weights._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]  # as nn.Module.state_dict leaves it there
    tree: dict[str, Any] = {
        "format": FORMAT,
        "model": weights,
        "optimizer": {},
        "a/b": torch.zeros(1),
        "a": {"b": torch.ones(1)},
    }
    tree["list"] = [torch.zeros(2), "text", None, 1.5]
    host = HostCopy()

    first = host.take(tree)
    places = [first.captured["model"]["w"].data_ptr(), first.captured["list"][0].data_ptr()]
    tree["model"]["w"].zero_()

    assert first.captured["model"]["w"].tolist() == [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    assert first.captured["model"]["w"].stride() == (1, 3)
    assert first.captured["model"]["half"].dtype == torch.bfloat16
    assert first.captured["model"]._metadata == {"": {"version": 2}}
    assert first.captured["list"][1:] == ["text", None, 1.5]
    assert (first.captured["a/b"].item(), first.captured["a"]["b"].item()) == (0.0, 1.0)
    second = host.take(tree)
    assert [second.captured["model"]["w"].data_ptr(), second.captured["list"][0].data_ptr()] == places


def test_a_tensor_that_changed_its_shape_gets_new_memory() -> None:
    host = HostCopy()
    host.take({"model": {"w": torch.ones(2)}, "optimizer": {}})

    grown = host.take({"model": {"w": torch.full((3,), 2.0)}, "optimizer": {}})

    assert grown.captured["model"]["w"].tolist() == [2.0, 2.0, 2.0]
