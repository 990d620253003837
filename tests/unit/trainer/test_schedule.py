import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainmaster_trainer.schedule import Schedule


def _torch_rates(*, t_0: int, t_mult: int, steps_per_epoch: int, epochs: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=t_0, T_mult=t_mult)
    rates = []
    for step in range(epochs * steps_per_epoch):
        reference.step(step / steps_per_epoch)
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates


@pytest.mark.parametrize(("t_0", "t_mult"), [(1, 1), (10, 1), (10, 2), (3, 3), (1, 2)])
@pytest.mark.parametrize("steps_per_epoch", [1, 4])
def test_cosine_equals_the_one_of_torch_stepped_by_fractions_of_an_epoch(
    t_0: int, t_mult: int, steps_per_epoch: int
) -> None:
    schedule = Schedule(name="cosine-annealing-warm-restarts", steps_per_epoch=steps_per_epoch, t_0=t_0, t_mult=t_mult)

    rates = _torch_rates(t_0=t_0, t_mult=t_mult, steps_per_epoch=steps_per_epoch, epochs=45)

    assert [schedule.factor(step) for step in range(len(rates))] == pytest.approx(rates, abs=1e-9)


def test_every_cosine_cycle_starts_at_the_full_rate() -> None:
    schedule = Schedule(name="cosine-annealing-warm-restarts", steps_per_epoch=7, t_0=10, t_mult=2)

    assert [schedule.factor(epoch * 7) for epoch in (0, 10, 30, 70, 150)] == [1.0] * 5
    assert schedule.factor(10 * 7 - 1) < 0.001


@given(step=st.integers(0, 10**9), t_0=st.integers(1, 100), t_mult=st.integers(1, 5))
def test_a_factor_lies_between_0_and_1_at_any_step(step: int, t_0: int, t_mult: int) -> None:
    schedule = Schedule(name="cosine-annealing-warm-restarts", steps_per_epoch=13, t_0=t_0, t_mult=t_mult)

    assert 0.0 <= schedule.factor(step) <= 1.0


def test_constant_is_the_base_rate_for_ever() -> None:
    schedule = Schedule(name="constant", steps_per_epoch=3)

    assert {schedule.factor(step) for step in (0, 1, 10**6)} == {1.0}
