"""The multiplier: rescues act at once and recover, cuts stay, budgets hold, and NaN reaches no history."""

import math

import pytest
import torch

from trainmaster_trainer.guards.learning_rate import (
    COOL_DOWN_STEPS,
    EMERGENCY_LOSS,
    RECOVERED_SHARE,
    RECOVERY_STEPS,
    SmartLRAdapter,
)
from trainmaster_trainer.guards.settings import GuardSettings


def _adapter(  # each default is the catalogue's
    *,
    learning_rate: float = 1e-3,
    patience: int = 10,
    floor: float = 1e-7,
    rescues: int = 3,
    factor: float = 0.1,
) -> SmartLRAdapter:
    settings = GuardSettings(
        learning_rate=learning_rate,
        lr_plateau_patience=patience,
        min_learning_rate=floor,
        max_lr_rescues=rescues,
        emergency_lr_factor=factor,
    )
    return SmartLRAdapter(settings, device=torch.device("cpu"))


def _see(adapter: SmartLRAdapter, *, loss: float = 0.7, norm: float = 1.0, explained: bool = False) -> bool:
    ok = math.isfinite(loss) and math.isfinite(norm)
    rescued = adapter.judge(
        torch.tensor([loss]), torch.tensor([norm]), taken=torch.tensor([ok]), explained=torch.tensor([explained])
    )
    return bool(rescued)


def _healthy(adapter: SmartLRAdapter, steps: int) -> None:
    for _ in range(steps):
        _see(adapter)


def _same(first: SmartLRAdapter, second: SmartLRAdapter) -> bool:
    other = second.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in first.state_dict().items())


def test_explained_nan_zero_and_nonfinite_validations_then_200_healthy_steps_leave_what_200_steps_leave() -> None:
    healthy, disturbed = _adapter(), _adapter()
    for bad in (math.nan, math.inf, -math.inf):
        _see(disturbed, loss=bad, norm=bad, explained=True)
        disturbed.validated(bad)
    _see(disturbed, loss=0.0, norm=0.0)

    for adapter in (healthy, disturbed):
        _healthy(adapter, 200)
        for index in range(9):
            adapter.validated(0.7 + index)

    assert _same(healthy, disturbed)
    assert float(disturbed.multiplier) == 1.0


@pytest.mark.parametrize("when", ["cooling down", "recovering", "plateau"])
def test_bad_values_leave_a_state_in_motion_alone(when: str) -> None:
    adapter = _adapter()
    adapter.validated(0.5)
    adapter.validated(0.6)
    if when != "plateau":
        _see(adapter, loss=math.nan)
        _healthy(adapter, 10 if when == "cooling down" else COOL_DOWN_STEPS + 20)
    before = adapter.state_dict()

    for bad in (math.nan, math.inf, -math.inf):
        _see(adapter, loss=bad, norm=bad, explained=True)
        _see(adapter, loss=0.7, norm=abs(bad))
        adapter.validated(bad)

    assert all(torch.equal(before[name], tensor) for name, tensor in adapter.state_dict().items())


@pytest.mark.parametrize(
    ("loss", "norm"),
    [(math.nan, 1.0), (math.inf, 1.0), (-math.inf, 1.0), (EMERGENCY_LOSS * 2, 1.0), (0.7, 1001.0)],
)
def test_each_emergency_cuts_the_rate_to_a_tenth(loss: float, norm: float) -> None:
    adapter = _adapter()

    assert _see(adapter, loss=loss, norm=norm)
    assert float(adapter.multiplier) == pytest.approx(0.1, rel=1e-5)
    assert int(adapter.total_changes) == 1


@pytest.mark.parametrize(
    ("loss", "norm", "explained"),
    [(EMERGENCY_LOSS, 1000.0, False), (0.7, math.inf, False), (0.7, math.nan, False), (math.nan, math.nan, True)],
)
def test_what_is_no_fault_of_the_rate_is_not_rescued(loss: float, norm: float, *, explained: bool) -> None:
    adapter = _adapter()

    assert not _see(adapter, loss=loss, norm=norm, explained=explained)
    assert float(adapter.multiplier) == 1.0


def test_no_second_rescue_until_the_first_had_time_to_act() -> None:
    adapter = _adapter()

    rescued = [_see(adapter, norm=5000.0) for _ in range(COOL_DOWN_STEPS + 2)]

    assert [index for index, each in enumerate(rescued) if each] == [0, COOL_DOWN_STEPS + 1]
    assert float(adapter.multiplier) == pytest.approx(0.01, rel=1e-4)


def test_one_bad_step_among_ten_is_a_rescue_and_several_are_one() -> None:
    for bad in ([4], [0, 4, 9]):
        adapter = _adapter()
        losses = torch.full((10,), 0.7)
        losses[bad] = math.nan

        rescued = adapter.judge(
            losses, torch.ones(10), taken=losses.isfinite(), explained=torch.zeros(10, dtype=torch.bool)
        )

        assert bool(rescued)
        assert int(adapter.rescues) == 1


def test_steps_that_are_not_taken_do_not_shorten_the_cool_down() -> None:
    adapter = _adapter()

    rescued = [_see(adapter, loss=math.nan) for _ in range(3 * COOL_DOWN_STEPS)]

    assert sum(rescued) == 1


def test_rescues_have_a_budget() -> None:
    adapter = _adapter(rescues=2)
    for _ in range(5):
        _see(adapter, norm=5000.0)
        _healthy(adapter, COOL_DOWN_STEPS)

    assert int(adapter.rescues) == 2
    assert int(adapter.total_changes) == 2


def test_a_budget_of_zero_never_rescues() -> None:
    adapter = _adapter(rescues=0)

    assert not _see(adapter, loss=math.nan)
    assert float(adapter.multiplier) == 1.0


def test_a_rescue_recovers_to_half_of_the_rate_and_no_further() -> None:
    adapter = _adapter()
    _see(adapter, loss=math.nan)

    _healthy(adapter, COOL_DOWN_STEPS)
    held = float(adapter.multiplier)
    _healthy(adapter, RECOVERY_STEPS // 2)
    midway = float(adapter.multiplier)
    _healthy(adapter, 2 * RECOVERY_STEPS)

    assert held == pytest.approx(0.1, rel=1e-5)
    assert midway == pytest.approx(0.1 * 10**0.5, rel=1e-3)
    assert float(adapter.multiplier) == pytest.approx(RECOVERED_SHARE, rel=1e-5)


def test_a_mild_emergency_factor_is_not_made_harsher_by_the_recovery() -> None:
    adapter = _adapter(factor=0.8)
    _see(adapter, loss=math.nan)

    _healthy(adapter, 1000)

    assert float(adapter.multiplier) == pytest.approx(0.8, rel=1e-5)


def test_a_plateau_is_cut_after_patience_validations_and_stays_cut() -> None:
    adapter = _adapter(patience=3)
    adapter.validated(0.5)
    multipliers = []
    for _ in range(6):
        adapter.validated(0.5)
        multipliers.append(float(adapter.multiplier))
    _healthy(adapter, 3 * RECOVERY_STEPS)

    assert multipliers == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.5, 0.25])
    assert float(adapter.multiplier) == pytest.approx(0.25)
    assert int(adapter.total_changes) == 2


@pytest.mark.parametrize("start", [0.5, -0.5])
def test_an_improvement_starts_the_patience_anew_and_rounding_is_none(start: float) -> None:
    adapter = _adapter(patience=2)
    for loss in (start, start + 0.1, start - 0.1, start, start - 0.2, start - 0.2 - 1e-7):
        adapter.validated(loss)

    assert int(adapter.stalled) == 1
    assert float(adapter.multiplier) == 1.0


def test_a_restart_of_the_schedule_starts_the_patience_anew() -> None:
    adapter = _adapter(patience=3)
    for loss in (0.5, 0.6, 0.6):
        adapter.validated(loss)

    adapter.widen()
    adapter.validated(0.9)

    assert float(adapter.multiplier) == 1.0


def test_the_base_rate_never_falls_below_its_floor_and_a_cut_that_does_nothing_is_not_counted() -> None:
    adapter = _adapter(learning_rate=1e-6, floor=3e-7, patience=1)
    adapter.validated(0.5)
    for _ in range(5):
        adapter.validated(0.5)
    _see(adapter, loss=math.nan)

    assert float(adapter.multiplier) * 1e-6 == pytest.approx(3e-7)
    assert int(adapter.total_changes) == 3  # 0.5, 0.3 and the rescue


def test_a_restored_adapter_goes_on_as_if_never_interrupted() -> None:
    first, second = _adapter(), _adapter()
    _see(first, loss=math.nan)
    first.validated(0.3)
    _healthy(first, COOL_DOWN_STEPS + 33)

    second.load_state_dict(first.state_dict())
    for adapter in (first, second):
        _healthy(adapter, 57)
        adapter.validated(0.31)

    assert _same(first, second)
