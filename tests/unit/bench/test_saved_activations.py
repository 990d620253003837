"""What a forward pass keeps, counted by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.support.saved_activations import saved_bytes_per_sample

WINDOW, FEATURES, HIDDEN = 6, 5, 4
FLOAT, LONG = 4, 8


class Small(nn.Module):
    """A linear layer keeps its input, tanh its output, a mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, HIDDEN)

    def forward(self, windows: Tensor) -> Tensor:
        hidden: Tensor = torch.tanh(self.linear(windows)).mean(dim=1)
        return hidden


def test_inputs_and_outputs_that_the_backward_pass_needs_are_counted_once_each() -> None:
    by_hand = FLOAT * WINDOW * FEATURES + FLOAT * WINDOW * HIDDEN
    loss = FLOAT * HIDDEN + LONG  # log-probabilities and targets

    found = saved_bytes_per_sample(Small(), window=WINDOW, features=FEATURES, autocast=False)

    assert found == by_hand + loss


def test_bfloat16_halves_what_is_kept_of_the_network() -> None:
    # The linear layer keeps its input as it was converted; the loss is computed in float32.
    by_hand = 2 * WINDOW * FEATURES + 2 * WINDOW * HIDDEN
    loss = FLOAT * HIDDEN + LONG

    found = saved_bytes_per_sample(Small(), window=WINDOW, features=FEATURES, autocast=True)

    assert found == by_hand + loss
