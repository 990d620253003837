"""Losses of rows, worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional

from trainmaster_trainer.market.losses import noisy, row_losses

# Probabilities 1/2, 1/4, 1/4.
LOGITS = torch.tensor([[math.log(2), 0.0, 0.0]], dtype=torch.float64)
SURELY_1 = torch.tensor([[-50.0, 50.0, -50.0]])


def _loss(target: int, **knobs: float) -> float:
    return float(row_losses(LOGITS, torch.tensor([target]), **knobs))  # type: ignore[arg-type]  # numbers only


def test_plain_cross_entropy_is_the_logarithm() -> None:
    assert _loss(0) == pytest.approx(math.log(2))
    assert _loss(1) == pytest.approx(math.log(4))


def test_smoothing_spreads_the_mass_over_all_classes() -> None:
    # 0.7 of the label's own loss, and 0.1 of each class's: 0.7 log 2 + 0.1 (log 2 + log 4 + log 4).
    assert _loss(0, label_smoothing=0.3) == pytest.approx(0.7 * math.log(2) + 0.1 * (math.log(2) + 2 * math.log(4)))


def test_the_focal_factor_is_the_power_of_what_is_missing_to_certainty() -> None:
    assert _loss(0, focal_gamma=2) == pytest.approx(0.25 * math.log(2))
    assert _loss(1, focal_gamma=2) == pytest.approx(0.5625 * math.log(4))


def test_focal_with_smoothing_takes_the_probability_from_the_hard_label() -> None:
    smoothed = 0.9 * math.log(2) + 0.1 / 3 * (math.log(2) + 2 * math.log(4))

    assert _loss(0, focal_gamma=2, label_smoothing=0.1) == pytest.approx(0.25 * smoothed)
    assert _loss(0, focal_gamma=2, label_smoothing=0.1) != pytest.approx((1 - math.exp(-smoothed)) ** 2 * smoothed)


def test_a_weight_multiplies_the_losses_of_its_class() -> None:
    logits, targets = LOGITS.repeat(2, 1), torch.tensor([0, 1])

    losses = row_losses(logits, targets, class_weights=torch.tensor([3.0, 0.5, 9.0], dtype=torch.float64))

    assert losses.tolist() == pytest.approx([3 * math.log(2), 0.5 * math.log(4)])


def test_each_row_has_its_own_loss() -> None:
    logits, targets = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    logits[3] = torch.nan

    losses = row_losses(logits, targets, focal_gamma=2.5, label_smoothing=0.1)

    assert losses.shape == (7,)
    assert losses.isnan().tolist() == [n == 3 for n in range(7)], "one poisonous row spoils no other"


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_it_is_what_pytorch_computes(label_smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(50, 4, generator=generator), torch.randint(4, (50,), generator=generator)

    expected = functional.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")

    torch.testing.assert_close(row_losses(logits, targets, label_smoothing=label_smoothing), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.5])
def test_a_row_that_is_certain_has_a_finite_slope(gamma: float) -> None:
    for target in (0, 1):
        logits = SURELY_1.clone().requires_grad_()

        (slope,) = torch.autograd.grad(row_losses(logits, torch.tensor([target]), focal_gamma=gamma).sum(), logits)

        assert slope.isfinite().all()


def test_half_precision_is_judged_in_single() -> None:
    losses = row_losses(LOGITS.to(torch.bfloat16), torch.tensor([0]))

    assert losses.dtype == torch.float32


def test_noise_has_its_deviation_and_follows_the_global_generator() -> None:
    windows = torch.ones(200, 20, 5)

    torch.manual_seed(1)
    first = noisy(windows, std=0.5)
    torch.manual_seed(1)
    again = noisy(windows, std=0.5)

    assert float((first - windows).std()) == pytest.approx(0.5, rel=0.02)
    assert float((first - windows).mean()) == pytest.approx(0.0, abs=0.02)
    assert torch.equal(first, again)


def test_no_noise_draws_no_number() -> None:
    windows = torch.ones(2, 3, 1)
    before = torch.get_rng_state()

    assert noisy(windows, std=0.0) is windows
    assert torch.equal(torch.get_rng_state(), before)
