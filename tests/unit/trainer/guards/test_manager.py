"""All guards in one call per step; one that raises is left behind, and what is read is one copy."""

import logging
import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.host_reads import HostReads
from trainmaster_trainer.guards import GuardReport, GuardSettings, IntegrationManager, StepSignals
from trainmaster_trainer.guards.manager import Decision

NAMES = {
    "gradient_clipper.total_clips",
    "gradient_clipper.emergency_clips",
    "lr_adapter.total_changes",
    "lr_adapter.multiplier",
    "quarantine.rows",
    "guards.nonfinite_steps",
    "smart_tuner.system_health",
    "smart_tuner.emergency_mode",
}


def _manager(**settings: Any) -> IntegrationManager:  # noqa: ANN401  # any field of GuardSettings
    return IntegrationManager(GuardSettings(learning_rate=1e-3, **settings), rows=20, device=torch.device("cpu"))


def _see(manager: IntegrationManager, *, loss: float = 0.7, norm: float = 1.0, explained: bool = False) -> Decision:
    signals = StepSignals(
        loss=torch.tensor(loss),
        norm=torch.tensor(norm),
        ok=torch.tensor(math.isfinite(loss) and math.isfinite(norm)),
        rows=torch.arange(4),
        losses=torch.tensor([math.nan if explained else 1.0, 1.0, 1.0, 1.0]),
    )
    return manager.step(signals, max_grad_norm=5.0)


def _flat(state: Any) -> list[Any]:  # noqa: ANN401  # a nested state
    if isinstance(state, dict):
        return [x for key in sorted(state) for x in _flat(state[key])]
    if isinstance(state, list):
        return [x for each in state for x in _flat(each)]
    return [repr(state.tolist() if isinstance(state, torch.Tensor) else state)]  # NaN differs from NaN


def test_after_nan_inf_zero_and_200_healthy_steps_all_decide_as_if_they_had_never_been() -> None:
    healthy, disturbed = _manager(), _manager()
    for bad in (math.nan, math.inf):
        _see(disturbed, loss=bad, norm=bad, explained=True)
        _see(disturbed, loss=0.7, norm=bad)
    _see(disturbed, loss=0.0, norm=0.0)
    disturbed.judge()

    norms = torch.rand(200, generator=torch.Generator().manual_seed(2)).tolist()
    for norm in norms:
        first, second = _see(healthy, norm=norm), _see(disturbed, norm=norm)
        assert torch.equal(first.grad_scale, second.grad_scale)
        assert torch.equal(first.lr_multiplier, second.lr_multiplier)

    report = disturbed.read()
    assert _flat(healthy.clipper.state_dict()) == _flat(disturbed.clipper.state_dict())
    assert _flat(healthy.adapter.state_dict()) == _flat(disturbed.adapter.state_dict())
    assert report.health > 0.98
    assert report.metrics["guards.nonfinite_steps"] == 4.0
    assert report.metrics["quarantine.rows"] == 1.0
    assert not report.emergency


@pytest.mark.parametrize("bad_steps", [1, 3, 10, 17])
def test_bad_steps_within_a_judgement_leave_no_trace_either(bad_steps: int) -> None:
    healthy, disturbed = _manager(max_lr_rescues=0), _manager(max_lr_rescues=0)
    for index in range(bad_steps):
        _see(disturbed, loss=(math.nan, math.inf, 0.0)[index % 3], norm=(math.nan, math.inf, 0.0)[index % 3])

    for norm in torch.rand(200, generator=torch.Generator().manual_seed(2)).tolist():
        _see(healthy, norm=norm)
        _see(disturbed, norm=norm)
    healthy.judge()
    disturbed.judge()

    assert _flat(healthy.clipper.state_dict()) == _flat(disturbed.clipper.state_dict())
    assert _flat(healthy.adapter.state_dict()) == _flat(disturbed.adapter.state_dict())


def test_a_report_has_the_names_that_users_know_and_finite_values() -> None:
    manager = _manager()
    for loss in (0.7, math.nan, math.inf, 1e30):
        _see(manager, loss=loss, norm=loss)
    manager.judge()

    metrics = manager.read().metrics

    assert set(metrics) == NAMES
    assert all(math.isfinite(value) for value in metrics.values())


def test_an_undisturbed_training_is_healthy_and_silent() -> None:
    manager = _manager()
    for _ in range(50):
        _see(manager)

    assert manager.read() == GuardReport(
        health=1.0,
        emergency=False,
        recommendations=(),
        events=(),
        metrics=dict.fromkeys(NAMES, 0.0) | {"lr_adapter.multiplier": 1.0, "smart_tuner.system_health": 1.0},
    )


def test_steps_lost_in_a_row_are_an_emergency_that_ends_with_a_healthy_step() -> None:
    manager = _manager(max_lr_rescues=0)
    for _ in range(3):
        _see(manager, loss=math.nan)
    manager.judge()
    during = manager.read()
    _see(manager)
    manager.judge()
    after = manager.read()

    assert during.emergency
    assert any("3 steps in a row" in each for each in during.recommendations)
    assert not after.emergency
    assert after.health < 1.0


@pytest.mark.parametrize(
    ("losses", "in_a_row"),
    [([1.0] * 10, 0), ([math.nan] * 10, 12), ([math.nan] * 9 + [1.0], 0), ([1.0] + [math.nan] * 4, 4), ([1.0], 0)],
)
def test_lost_steps_in_a_row_are_counted_over_judgements(losses: list[float], in_a_row: int) -> None:
    manager = _manager()
    for loss in (math.nan, math.nan):
        _see(manager, loss=loss)
    manager.judge()

    for loss in losses:
        _see(manager, loss=loss)
    manager.judge()

    assert manager.skips.tolist() == [2 + sum(map(math.isnan, losses)), in_a_row]


def test_ten_steps_are_judged_by_themselves() -> None:
    manager = _manager()
    counts = []
    for _ in range(20):
        _see(manager, norm=50.0)
        counts.append(int(manager.clipper.total_clips))

    assert counts == [0] * 9 + [10] * 10 + [20]


def test_a_batch_of_another_size_is_judged_apart() -> None:
    manager = _manager()
    _see(manager, loss=math.nan, explained=True)
    _see(manager)
    yes = torch.tensor(True)  # noqa: FBT003  # a tensor's value
    one = torch.tensor(1.0)

    manager.step(StepSignals(loss=one, norm=one, ok=yes, rows=torch.arange(3), losses=torch.ones(3)), max_grad_norm=5.0)
    manager.step(StepSignals(loss=one, norm=one, ok=yes), max_grad_norm=5.0)
    manager.judge()

    assert manager.skips.tolist() == [1, 0]
    assert manager.read().metrics["quarantine.rows"] == 1.0


def test_an_event_is_told_once() -> None:
    manager = _manager()
    _see(manager, norm=5000.0)
    manager.judge()

    first, second = manager.read(), manager.read()

    assert [each.reason for each in first.events] == ["EmergencyClip", "LearningRateChanged"]
    assert second.events == ()


def test_weights_are_looked_at_when_a_model_is_given() -> None:
    manager, model = _manager(), nn.Linear(3, 1)
    with torch.no_grad():
        model.weight[0, 1] = math.nan

    report = manager.read(model)

    assert manager.read().health == 1.0
    assert report.health == 0.0
    assert any("weights are not finite" in each for each in report.recommendations)


def _breaks(*_: object, **__: object) -> Any:  # noqa: ANN401  # never returns
    raise ArithmeticError("a bug")


@pytest.mark.parametrize(
    ("guard", "method"),
    [
        ("clipper", "grad_scale"),
        ("clipper", "judge"),
        ("adapter", "judge"),
        ("adapter", "validated"),
        ("quarantine", "filter"),
        ("quarantine", "observe"),
    ],
)
def test_a_guard_that_raises_is_switched_off_with_an_event_and_the_others_go_on(
    guard: str, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager = _manager()
    monkeypatch.setattr(getattr(manager, guard), method, _breaks)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            batch = manager.filter(torch.arange(4))
            decision = _see(manager, norm=50.0)
            manager.validated(0.5)
    report = manager.read()

    assert float(decision.grad_scale) == pytest.approx(10.0, rel=1e-5)
    assert float(decision.lr_multiplier) == 1.0
    assert batch.rows.tolist() == [0, 1, 2, 3]
    assert [each.reason for each in report.events] == ["GuardOff"]
    assert "ArithmeticError: a bug" in report.events[0].message
    assert any("is off after an error" in each for each in report.recommendations)
    assert caplog.text.count("is off from now on") == 1


def test_an_adapter_that_raises_leaves_its_last_multiplier_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = _manager()
    _see(manager, norm=5000.0)
    manager.judge()
    monkeypatch.setattr(manager.adapter, "judge", _breaks)
    _see(manager)
    manager.judge()

    assert float(_see(manager).lr_multiplier) == pytest.approx(0.1, rel=1e-5)


def test_lack_of_memory_is_no_fault_of_a_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = _manager()

    def lacks_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(manager.clipper, "grad_scale", lacks_memory)

    with pytest.raises(torch.OutOfMemoryError):
        _see(manager)
    assert manager.read().events == ()


def test_what_was_saved_continues_and_what_was_told_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _manager(), _manager()
    monkeypatch.setattr(first.quarantine, "filter", _breaks)
    first.filter(torch.arange(4))
    _see(first, norm=5000.0)
    for norm in torch.rand(300, generator=torch.Generator().manual_seed(2)).tolist():
        _see(first, norm=norm)

    first.read()
    second.load_state_dict(first.state_dict())

    assert second.read().events == ()
    assert second.read().metrics == first.read().metrics
    assert second.read().recommendations == first.read().recommendations
    for loss, norm in [(0.7, 0.3), (math.nan, math.nan), (0.7, 40.0)]:
        _see(first, loss=loss, norm=norm)
        _see(second, loss=loss, norm=norm)
    assert _flat(first.state_dict()) == _flat(second.state_dict())


def test_a_read_is_one_copy_and_changes_nothing() -> None:
    manager = _manager()
    for _ in range(13):
        _see(manager, norm=5000.0)
    before = _flat(_all_but_told(manager))

    with HostReads() as reads:
        manager.read(nn.Linear(3, 1))

    assert reads.total == 1
    assert _flat(_all_but_told(manager)) == before


def test_what_was_not_told_before_the_checkpoint_is_told_after_it() -> None:
    first, second = _manager(), _manager()
    for _ in range(10):
        _see(first, norm=5000.0)

    second.load_state_dict(first.state_dict())

    assert second.read().events == first.read().events != ()


def test_lost_steps_that_wait_for_their_judgement_are_counted_at_once() -> None:
    manager = _manager()
    for loss in (0.7, math.nan, 0.7):
        _see(manager, loss=loss, norm=1.0)

    assert manager.lost_unjudged() == 1


def _all_but_told(manager: IntegrationManager) -> dict[str, object]:
    return {name: value for name, value in manager.state_dict().items() if name != "told"}


def test_without_a_quarantine_rows_pass_and_are_not_blamed() -> None:
    manager = _manager(quarantine=False)
    rows = torch.arange(4)

    _see(manager, loss=math.nan, explained=True)
    manager.judge()

    assert int(manager.adapter.rescues) == 1
    assert manager.filter(rows).weights.tolist() == [1.0] * 4
    assert manager.read().metrics["quarantine.rows"] == 0.0
