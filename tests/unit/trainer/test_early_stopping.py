from __future__ import annotations

import math

import pytest

from trainmaster_trainer.early_stopping import Patience


def _fed(limit: int, *losses: float) -> Patience:
    patience = Patience(limit=limit)
    for loss in losses:
        patience.observe(loss)
    return patience


def test_losses_that_are_not_finite_and_then_healthy_ones_end_as_if_never_seen() -> None:
    healthy = [1.0 - i / 1000 for i in range(200)]

    assert _fed(5, math.nan, math.inf, -math.inf, *healthy) == _fed(5, *healthy)


def test_a_loss_of_zero_counts_as_what_it_is() -> None:
    assert _fed(5, 1.0, 0.0).best == 0.0


@pytest.mark.parametrize(
    ("losses", "stops"),
    [
        ((3, 2, 1), False),
        ((1, 2, 3), False),
        ((1, 2, 3, 4), True),
        ((1, 2, math.nan, 1), True),
        ((1, 2, 3, 0.5), False),
    ],
)
def test_it_ends_after_three_epochs_without_a_better_loss(losses: tuple[float, ...], *, stops: bool) -> None:
    assert (_fed(3, *losses).verdict(judged_now=True) is not None) is stops


def test_within_a_cycle_of_the_schedule_nothing_is_judged() -> None:
    patience = _fed(3, 1, 2, 3, 4)

    assert patience.verdict(judged_now=False) is None
    assert patience.verdict(judged_now=True) == (
        "no better validation loss than 1 for 3 epochs (early_stopping_patience)"
    )


def test_a_limit_of_zero_turns_it_off() -> None:
    assert _fed(0, 1, 2, 3, 4).verdict(judged_now=True) is None


def test_it_goes_on_from_a_checkpoint_with_the_limit_of_the_plan() -> None:
    patience = Patience(limit=4)

    patience.load_state_dict(_fed(3, 1, 2, 3).state_dict())

    assert patience == Patience(limit=4, best=1.0, waited=2)
