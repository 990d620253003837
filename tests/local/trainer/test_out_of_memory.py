"""Memory runs out in the middle of a training: the same batch in finer slices, and nothing else is different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.training import ToyWorkload, newest_digest, start, store
from trainmaster_trainer.memory import OutOfMemoryError
from trainmaster_trainer.workload import Knobs

BATCH = 8


class SmallDevice(ToyWorkload):
    """Has memory for so many rows at once."""

    def __init__(self, *, fits: int, slices: int = 1) -> None:
        super().__init__(batch_size=BATCH, gradient_accumulation_steps=slices)
        self.fits = fits
        self.asked: list[int] = []

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        self.asked.append(len(rows))
        losses = super().losses(model, rows, knobs)  # random numbers are drawn before memory runs out
        if len(rows) > self.fits:
            message = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise torch.OutOfMemoryError(message)
        return losses


class SmallInTheSecondSlice(SmallDevice):
    """Runs out of memory when a backward pass of the same step has left gradients already."""

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        self.fits = BATCH if not self.asked else 2
        return super().losses(model, rows, knobs)


def _digest(root: Path, workload: ToyWorkload, **options: Any) -> str:  # noqa: ANN401  # as start has them
    start(root, workload=workload, **options)[0].run()
    return newest_digest(root)


def _kept_slices(root: Path) -> int:
    found = store(root, launch=10**6).newest()
    assert found is not None
    count: int = found[1]["slices"]["count"]
    return count


@pytest.mark.parametrize(("fits", "slices"), [(4, 2), (3, 4), (2, 4), (1, 8)])
def test_weights_are_those_of_a_training_that_began_with_as_many_slices(tmp_path: Path, fits: int, slices: int) -> None:
    began = _digest(tmp_path / "began", SmallDevice(fits=BATCH, slices=slices))

    assert _digest(tmp_path / "found", SmallDevice(fits=fits)) == began
    assert _kept_slices(tmp_path / "found") == slices


def test_gradients_of_the_failed_attempt_are_left_behind(tmp_path: Path) -> None:
    began = _digest(tmp_path / "began", SmallDevice(fits=BATCH, slices=4))

    assert _digest(tmp_path / "found", SmallInTheSecondSlice(fits=BATCH, slices=2)) == began


def test_it_fails_once_and_not_at_every_step(tmp_path: Path) -> None:
    workload = SmallDevice(fits=2)

    engine, _ = start(tmp_path, workload=workload)
    engine.run()

    assert workload.asked == [8, 4] + 4 * engine.state.step * [2]


def test_the_next_process_begins_with_what_was_found(tmp_path: Path) -> None:
    straight = _digest(tmp_path / "straight", SmallDevice(fits=2))
    first, _ = start(tmp_path / "cut", workload=SmallDevice(fits=2), every_steps=1)
    first._train_epoch()
    first._end_epoch()
    first._checkpoints.close()
    second = SmallDevice(fits=2)

    digest = _digest(tmp_path / "cut", second, launch=2)

    assert set(second.asked) == {2}, "no attempt with more"
    assert digest == straight


def test_a_row_that_does_not_fit_ends_in_words_with_a_checkpoint_of_the_step_before(tmp_path: Path) -> None:
    workload = SmallDevice(fits=0)
    engine, _ = start(tmp_path, workload=workload)
    before = [parameter.detach().clone() for parameter in engine.state.model.parameters()]

    with pytest.raises(OutOfMemoryError, match="out of memory with a single row: take a smaller model or window"):
        engine.run()

    assert workload.asked == [8, 4, 2, 1], "each size once"
    found = store(tmp_path).newest()
    assert found is not None
    assert found[0].step == 0
    assert all(torch.equal(a, b) for a, b in zip(before, found[1]["model"].values(), strict=True))


def test_an_error_of_another_kind_is_not_taken_for_it(tmp_path: Path) -> None:
    class Broken(ToyWorkload):
        def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:  # noqa: ARG002  # the base's names
            message = "mat1 and mat2 shapes cannot be multiplied"
            raise RuntimeError(message)

    engine, _ = start(tmp_path, workload=Broken())

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        engine.run()
    assert engine.state.slices.count == 1
