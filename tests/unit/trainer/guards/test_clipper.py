"""The threshold follows healthy norms, is never above the ceiling, and nothing unhealthy reaches it."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from trainmaster_trainer.guards.clipper import (
    EMERGENCY_RATIO,
    HALVINGS,
    MAD_TO_DEVIATION,
    MIN_RATIO,
    RELIEF_STEPS,
    RING,
    SPREADS,
    AdaptiveGradientClipper,
)

CEILING = 5.0


def _clipper(*, adaptive: bool = True) -> AdaptiveGradientClipper:
    return AdaptiveGradientClipper(adaptive=adaptive, emergency_norm=1000.0, device=torch.device("cpu"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What became of one norm."""

    grad_scale: Tensor
    clipped: bool
    emergency: bool


def _see(clipper: AdaptiveGradientClipper, norm: float, *, ceiling: float = CEILING) -> Seen:
    value = torch.tensor(norm)
    scale = clipper.grad_scale(value, ceiling=ceiling)
    clips, emergencies = clipper.judge(
        value[None], scales=scale[None], taken=torch.isfinite(value)[None], ceiling=ceiling
    )
    return Seen(grad_scale=scale, clipped=bool(clips), emergency=bool(emergencies))


def _threshold(clipper: AdaptiveGradientClipper, *, ceiling: float = CEILING) -> float:
    """What large norms are clipped to."""
    return 1e6 / float(clipper.grad_scale(torch.tensor(1e6), ceiling=ceiling))


def _healthy(count: int, *, median: float = 1.0, spread: float = 0.3, seed: int = 5) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    norms: list[float] = (median * torch.exp(spread * torch.randn(count, generator=generator))).tolist()
    return norms


def test_nan_inf_and_zero_then_200_healthy_norms_leave_what_200_healthy_norms_leave() -> None:
    healthy, disturbed = _clipper(), _clipper()
    for bad in (math.nan, math.inf, -math.inf, 0.0):
        _see(disturbed, bad)

    same = [torch.equal(_see(healthy, x).grad_scale, _see(disturbed, x).grad_scale) for x in _healthy(200)]

    assert all(same)
    assert all(torch.equal(healthy.state_dict()[name], tensor) for name, tensor in disturbed.state_dict().items())


def test_nan_inf_and_zero_in_a_full_ring_change_nothing() -> None:
    clipper = _clipper()
    for norm in _healthy(RING):
        _see(clipper, norm)
    before = clipper.state_dict()

    for bad in (math.nan, math.inf, -math.inf, 0.0):
        _see(clipper, bad)

    assert all(torch.equal(before[name], tensor) for name, tensor in clipper.state_dict().items())


@pytest.mark.parametrize("seen", [0, 1, 10, RING // 2 - 1])
def test_until_half_of_the_ring_is_filled_the_ceiling_alone_holds(seen: int) -> None:
    clipper = _clipper()
    for norm in _healthy(seen, median=0.01):
        _see(clipper, norm)

    decision = _see(clipper, 10.0)

    assert float(decision.grad_scale) == pytest.approx(10.0 / CEILING, rel=1e-5)
    assert decision.clipped


def test_a_full_ring_gives_the_formula_of_median_and_deviation() -> None:
    clipper = _clipper()
    norms = _healthy(3 * RING, median=0.5, spread=0.4)
    for norm in norms:
        _see(clipper, norm)
    logs = torch.tensor(norms[-RING:]).log()
    deviation = MAD_TO_DEVIATION * (logs - logs.median()).abs().median()

    expected = float((logs.median() + SPREADS * deviation).exp())

    assert _threshold(clipper) == pytest.approx(expected, rel=1e-4)
    assert expected < CEILING


def test_norms_of_equal_size_are_not_clipped_until_they_double() -> None:
    clipper = _clipper()
    for _ in range(RING):
        _see(clipper, 0.25)

    assert float(_see(clipper, 0.25 * MIN_RATIO * 0.99).grad_scale) == 1.0
    assert float(_see(clipper, 0.25 * MIN_RATIO * 1.5).grad_scale) == pytest.approx(1.5, rel=1e-4)


def test_large_norms_do_not_lift_the_threshold_over_the_ceiling() -> None:
    clipper = _clipper()
    for norm in _healthy(2 * RING, median=80.0):
        _see(clipper, norm)

    assert _threshold(clipper) == pytest.approx(CEILING, rel=1e-5)
    assert _threshold(clipper, ceiling=2.0) == pytest.approx(2.0, rel=1e-5)


def test_healthy_norms_are_rarely_clipped() -> None:
    clipper = _clipper()
    for norm in _healthy(2000):
        _see(clipper, norm)

    assert int(clipper.total_clips) <= 0.02 * 2000
    assert int(clipper.emergency_clips) == 0


def test_a_quarter_of_spikes_does_not_move_the_threshold_far() -> None:
    clipper = _clipper()
    for index, norm in enumerate(_healthy(2 * RING, median=0.2)):
        _see(clipper, 4.0 if index % 4 == 0 else norm)

    assert _threshold(clipper) < 1.5


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_norm_over_the_absolute_limit_halves_the_threshold_and_is_counted(*, adaptive: bool) -> None:
    clipper = _clipper(adaptive=adaptive)

    decision = _see(clipper, 2000.0)

    assert decision.emergency
    assert float(decision.grad_scale) == pytest.approx(2000.0 / CEILING, rel=1e-5)
    assert _threshold(clipper) == pytest.approx(CEILING / 2, rel=1e-5)
    assert (int(clipper.total_clips), int(clipper.emergency_clips)) == (1, 1)


def test_a_norm_out_of_proportion_to_the_median_is_an_emergency_below_the_absolute_limit() -> None:
    clipper = _clipper()
    for norm in _healthy(RING, median=0.2):
        _see(clipper, norm)

    assert not _see(clipper, 0.2 * EMERGENCY_RATIO * 0.5).emergency
    assert _see(clipper, 0.2 * EMERGENCY_RATIO * 2).emergency


def test_a_norm_below_the_ceiling_is_never_an_emergency() -> None:
    clipper = _clipper()
    for norm in _healthy(RING, median=1e-5):
        _see(clipper, norm)

    decision = _see(clipper, CEILING * 0.9)

    assert not decision.emergency
    assert decision.clipped


def test_emergencies_halve_down_to_a_sixteenth_and_healthy_steps_undo_it() -> None:
    clipper = _clipper()
    for _ in range(10):
        _see(clipper, 5000.0)
    lowest = float(clipper.halvings)
    for _ in range(int(HALVINGS) * RELIEF_STEPS):
        _see(clipper, 0.5)

    assert lowest == -HALVINGS
    assert float(clipper.halvings) == 0.0


@pytest.mark.parametrize("bad", [[], [0], [3, 4], [9], list(range(10))])
def test_ten_steps_at_once_are_remembered_as_ten_steps_one_by_one(bad: list[int]) -> None:
    single, together = _clipper(), _clipper()
    norms = torch.tensor(_healthy(RING + 10))
    norms[[RING + index for index in bad]] = math.nan
    for norm in norms[:RING]:
        _see(single, float(norm))
        _see(together, float(norm))

    for norm in norms[RING:]:
        _see(single, float(norm))
    last = norms[RING:]
    scales = together.grad_scale(last, ceiling=CEILING)
    together.judge(last, scales=scales, taken=last.isfinite(), ceiling=CEILING)

    assert torch.equal(single.ring, together.ring)
    assert torch.equal(single.limit, together.limit)


def test_a_ceiling_that_is_scheduled_holds_at_once() -> None:
    clipper = _clipper()

    assert [_threshold(clipper, ceiling=c) for c in (5.0, 1.0, 2.0)] == pytest.approx([5.0, 1.0, 2.0])


def test_widening_forgets_the_norms_but_not_the_counts() -> None:
    clipper = _clipper()
    for norm in _healthy(RING, median=0.01):
        _see(clipper, norm)
    tight = _threshold(clipper)
    _see(clipper, 4.0)
    clips = int(clipper.total_clips)

    clipper.widen()

    assert tight < 0.1
    assert _threshold(clipper) == pytest.approx(CEILING, rel=1e-5)
    assert int(clipper.total_clips) == clips


def test_without_adaption_the_ceiling_is_the_threshold() -> None:
    clipper = _clipper(adaptive=False)
    for norm in _healthy(2 * RING, median=0.01):
        _see(clipper, norm)

    assert float(_see(clipper, CEILING * 0.9).grad_scale) == 1.0
    assert float(_see(clipper, CEILING * 3).grad_scale) == pytest.approx(3.0, rel=1e-5)


def test_a_restored_clipper_goes_on_as_if_never_interrupted() -> None:
    first, second = _clipper(), _clipper()
    norms = _healthy(600)
    for norm in norms[:300]:
        _see(first, norm)
    second.load_state_dict(first.state_dict())

    same = [torch.equal(_see(first, x).grad_scale, _see(second, x).grad_scale) for x in norms[300:]]

    assert all(same)


def test_a_state_of_another_shape_is_refused_in_words() -> None:
    state = _clipper().state_dict() | {"ring": torch.zeros(7)}

    with pytest.raises(ValueError, match=r"ring has shape \(7,\) in the checkpoint and \(256,\) here"):
        _clipper().load_state_dict(state)


def test_a_saved_state_does_not_change_with_later_steps() -> None:
    clipper = _clipper()
    saved = clipper.state_dict()

    _see(clipper, 2000.0)

    assert saved["counters"].tolist() == [0, 0]
