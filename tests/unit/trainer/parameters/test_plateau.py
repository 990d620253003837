"""What `plateau` counts: immune to what is no loss, equal to torch, and exact after a restart."""

from __future__ import annotations

import math
import random

import pytest
import torch

from trainmaster_trainer.parameters import Plateau


def fed(*losses: float, patience: int = 3) -> Plateau:
    plateau = Plateau(patience=patience)
    for loss in losses:
        plateau.observe(loss)
    return plateau


def test_after_nan_inf_and_0_it_behaves_as_if_it_had_never_seen_them() -> None:
    generator = random.Random(0)
    healthy = [1.0 / (1 + i / 50) + generator.gauss(0, 0.05) for i in range(200)]

    assert fed(math.nan, math.inf, -math.inf, 0.0, *healthy) == fed(*healthy)


def test_a_loss_that_is_no_number_neither_helps_nor_harms_in_between() -> None:
    assert fed(1.0, 2.0, math.nan, 2.0, math.inf, 2.0) == fed(1.0, 2.0, 2.0, 2.0)


@pytest.mark.parametrize("patience", [0, 1, 5])
def test_it_cuts_when_the_one_of_torch_does(patience: int) -> None:
    generator = random.Random(patience)
    losses = [1.0 / (1 + i / 20) + generator.gauss(0, 0.02) for i in range(300)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, eps=0.0)
    plateau = Plateau(patience=patience)

    for loss in losses:
        reference.step(loss)
        plateau.observe(loss)
        assert 0.5**plateau.cuts == optimizer.param_groups[0]["lr"]

    assert plateau.cuts > 3


def test_an_improvement_too_small_to_matter_is_none() -> None:
    assert fed(1.0, 0.99995, 0.99993, 0.99991, 0.99990).cuts == 1
    assert fed(1.0, 0.9998, 0.9996, 0.9994, 0.9992).cuts == 0


def test_losses_below_zero_are_compared_too() -> None:
    assert fed(-1.0, -2.0, -3.0, -2.0).best == -3.0


def test_it_goes_on_from_a_checkpoint_with_the_patience_of_the_plan() -> None:
    restored = Plateau(patience=7)

    restored.load_state_dict(fed(1.0, 2.0, 2.0, 2.0, 2.0, 2.0).state_dict())

    assert restored == Plateau(patience=7, cuts=1, best=1.0, waited=1)
