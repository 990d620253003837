import pytest
import torch

from trainmaster_trainer.sampler import Sampler, permutation


def test_an_epoch_visits_each_row_at_most_once_and_leaves_out_less_than_a_batch() -> None:
    sampler = Sampler(rows=23, batch_size=5, seed=1)

    seen = torch.cat([sampler.batch(step) for step in range(sampler.steps_per_epoch)]).tolist()

    assert sampler.steps_per_epoch == 4
    assert len(seen) == len(set(seen)) == 20
    assert set(seen) <= set(range(23))


def test_a_step_sees_the_same_rows_whatever_was_asked_before() -> None:
    straight = Sampler(rows=23, batch_size=5, seed=1)
    wanted = [straight.batch(step).tolist() for step in range(12)]

    for step in (11, 0, 7, 3):
        assert Sampler(rows=23, batch_size=5, seed=1).batch(step).tolist() == wanted[step]


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0), (2, 0)])
def test_seed_and_epoch_each_change_the_order(seed: int, epoch: int) -> None:
    assert permutation(50, seed=seed, epoch=epoch).tolist() != permutation(50, seed=0, epoch=0).tolist()


def test_the_order_of_samples_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()

    permutation(50, seed=0, epoch=0)

    assert torch.equal(torch.get_rng_state(), before)
