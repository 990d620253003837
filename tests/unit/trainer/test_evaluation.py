import math

import pytest
import torch

from trainmaster_trainer.market.evaluation import accuracy_half_width, score


def test_scores_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]])
    targets = torch.tensor([0, 1, 1, 2])

    scores = score(probabilities.log(), targets)

    assert scores.accuracy == 0.75
    assert scores.f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert scores.log_loss == pytest.approx(-math.log(0.7 * 0.8 * 0.4 * 0.6) / 4)


def test_a_class_that_neither_came_nor_was_predicted_counts_zero() -> None:
    scores = score(torch.tensor([[0.9, 0.05, 0.05]]).log(), torch.tensor([0]))

    assert scores.f1 == pytest.approx(1 / 3)


def test_the_prior_says_the_most_frequent_training_class_and_its_log_loss_is_that_of_the_frequencies() -> None:
    frequencies, test = torch.tensor([0.25, 0.75]), torch.tensor([1, 1, 0, 0, 1])

    prior = score(frequencies.log().expand(5, 2), test)

    assert prior.accuracy == pytest.approx(0.6)
    assert prior.f1 == pytest.approx(2 * 3 / 8 / 2)
    assert prior.log_loss == pytest.approx(-(3 * math.log(0.75) + 2 * math.log(0.25)) / 5)


def test_one_point_of_accuracy_takes_9604_rows() -> None:
    assert accuracy_half_width(9604) == pytest.approx(0.01)
