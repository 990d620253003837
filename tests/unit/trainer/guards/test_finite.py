"""What is finite is found without a sum that could overflow, and without a NaN that hides."""

import math

import pytest
import torch
from torch import nn

from trainmaster_trainer.guards.finite import all_finite, finite_parameters, is_finite


def test_each_value_is_judged_alone() -> None:
    values = torch.tensor([0.0, -3.0, math.nan, math.inf, -math.inf, 3.4e38])

    assert is_finite(values).tolist() == [True, True, False, False, False, True]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 7, 15])
def test_one_bad_element_in_one_of_many_tensors_is_found(bad: float, place: int) -> None:
    tensors = [torch.ones(3), torch.ones(4, 4), torch.ones(2)]
    tensors[1].view(-1)[place] = bad

    assert not bool(all_finite(tensors))


def test_large_finite_values_are_finite_though_the_sum_of_their_squares_is_not() -> None:
    assert bool(all_finite([torch.full((100,), 1e30)]))


def test_whole_numbers_and_nothing_at_all_are_finite() -> None:
    assert bool(all_finite([torch.arange(3)]))
    assert bool(all_finite([]))


def test_a_weight_that_is_nan_is_found_in_a_model() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    before = bool(finite_parameters(model))
    with torch.no_grad():
        next(iter(model[1].parameters()))[0, 2] = math.nan

    assert before
    assert not bool(finite_parameters(model))
