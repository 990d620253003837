"""A step that sees NaN or Inf must leave everything as if it had never been."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from trainmaster_trainer.step import StepResult, StepStatistics, apply_step, new_optimizer


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, *, clip: float = 1.0) -> StepResult:
    loss = model(inputs).pow(2).mean()
    return apply_step(loss, optimizer=optimizer, learning_rate=0.01, max_grad_norm=clip)


def _healthy(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(6, 4, generator=generator) for _ in range(count)]


def _flat(value: object) -> list[object]:
    if isinstance(value, Tensor):
        return [value.tolist()]
    if isinstance(value, dict):
        return [x for item in value.values() for x in _flat(item)]
    return [x for item in value for x in _flat(item)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_nonfinite_step_leaves_weights_moments_and_step_count_alone(bad: float) -> None:
    model = _model()
    optimizer = new_optimizer(model, weight_decay=0.01)
    _step(model, optimizer, _healthy(1)[0])
    weights, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())

    result = _step(model, optimizer, torch.full((6, 4), bad))

    assert not bool(result.ok)
    assert _flat(dict(model.state_dict())) == _flat(dict(weights))
    assert _flat(optimizer.state_dict()) == _flat(moments)


def test_a_finite_loss_with_a_nonfinite_gradient_is_skipped_too() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = new_optimizer(model, weight_decay=0.0)
    weight = model.weight.detach().clone()
    loss = torch.sqrt((model.weight * 0.0).sum())  # sqrt has an infinite slope at 0; times 0 it is NaN

    result = apply_step(loss, optimizer=optimizer, learning_rate=0.1, max_grad_norm=1.0)

    assert math.isfinite(float(result.loss))
    assert not bool(result.ok)
    assert torch.equal(model.weight, weight)


def test_nan_inf_and_zero_then_200_healthy_steps_end_where_200_healthy_steps_end() -> None:
    healthy, disturbed = _model(), _model()
    first, second = new_optimizer(healthy, weight_decay=0.01), new_optimizer(disturbed, weight_decay=0.01)
    for bad in (math.nan, math.inf):
        _step(disturbed, second, torch.full((6, 4), bad))

    for inputs in _healthy(200):
        _step(healthy, first, inputs)
        _step(disturbed, second, inputs)

    assert _flat(dict(disturbed.state_dict())) == _flat(dict(healthy.state_dict()))


def test_a_zero_gradient_is_a_step_without_nan() -> None:
    model = nn.Linear(4, 1)
    optimizer = new_optimizer(model, weight_decay=0.0)
    weight = model.weight.detach().clone()

    result = apply_step((model.weight * 0.0).sum(), optimizer=optimizer, learning_rate=0.1, max_grad_norm=1.0)

    assert bool(result.ok)
    assert float(result.grad_norm) == 0.0
    assert torch.equal(model.weight, weight)


def test_the_norm_is_the_one_before_clipping() -> None:
    model = _model()
    inputs = _healthy(1)[0] * 100
    model(inputs).pow(2).mean().backward()
    unclipped = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))

    result = _step(model, new_optimizer(model, weight_decay=0.0), inputs, clip=0.001)

    clipped = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
    assert float(result.grad_norm) == pytest.approx(unclipped)
    assert clipped == pytest.approx(0.001, rel=1e-3)


def test_a_gradient_under_the_limit_is_not_touched() -> None:
    model = _model()
    inputs = _healthy(1)[0]

    result = _step(model, new_optimizer(model, weight_decay=0.0), inputs, clip=1e6)

    kept = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert float(kept) == float(result.grad_norm)


def _result(loss: float, norm: float) -> StepResult:
    ok = math.isfinite(loss) and math.isfinite(norm)
    return StepResult(loss=torch.tensor(loss), grad_norm=torch.tensor(norm), ok=torch.tensor(ok))


def test_statistics_count_nonfinite_steps_and_keep_them_out_of_the_means() -> None:
    statistics = StepStatistics()
    for loss, norm in [(math.nan, 1.0), (1.0, 2.0), (2.0, math.inf), (0.0, 0.0), (5.0, 4.0)]:
        statistics.add(_result(loss, norm))

    assert statistics.metrics() == {
        "train_loss": 2.0,
        "grad_norm": 2.0,
        "grad_norm_max": 4.0,
        "nonfinite_steps": 2.0,
    }


def test_an_epoch_without_a_single_finite_step_has_no_mean() -> None:
    statistics = StepStatistics()
    statistics.add(_result(math.nan, 1.0))

    metrics = statistics.metrics()

    assert math.isnan(metrics["train_loss"])
    assert math.isnan(metrics["grad_norm_max"])
    assert metrics["nonfinite_steps"] == 1.0
