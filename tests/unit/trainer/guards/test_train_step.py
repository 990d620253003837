"""The guarded step: exact where all is well, harmless where it is not, and never waiting for the device."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from tests.support.host_reads import HostReads
from trainmaster_trainer.guards import GuardSettings, IntegrationManager
from trainmaster_trainer.guards.manager import JUDGED_STEPS
from trainmaster_trainer.guards.quarantine import Filtered
from trainmaster_trainer.market.model import HybridCNNLSTMv2
from trainmaster_trainer.step import StepKnobs, StepResult, StepStatistics, TrainStep, new_optimizer

ROWS = 64
BATCH = 8
KNOBS = StepKnobs(learning_rate=0.01, weight_decay=0.01, max_grad_norm=5.0)


class Training:
    """A small regression under guards; some rows can be poison."""

    def __init__(
        self,
        *,
        poison: Sequence[int] = (),
        adaptive: bool = True,
        scaler: torch.amp.GradScaler | None = None,
        ranks: "OtherRank | None" = None,
    ) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        generator = torch.Generator().manual_seed(7)
        self.inputs = torch.randn(ROWS, 4, generator=generator)
        self.inputs[list(poison)] = math.nan
        self.targets = torch.randn(ROWS, generator=generator)
        settings = GuardSettings(learning_rate=KNOBS.learning_rate, adaptive_clipping=adaptive)
        self.guards = IntegrationManager(settings, rows=ROWS, device=torch.device("cpu"))
        self.optimizer = new_optimizer(self.model, weight_decay=0.0)
        self._step = TrainStep(self.optimizer, guards=self.guards, scaler=scaler, ranks=ranks)

    def losses(self, rows: Tensor) -> Tensor:
        errors: Tensor = self.model(self.inputs[rows]).squeeze(1) - self.targets[rows]
        return errors.pow(2)

    def step(self, rows: Tensor, *, slices: int = 1, scale: float = 1.0, knobs: StepKnobs = KNOBS) -> StepResult:
        batch = self.guards.filter(rows)
        parts = batch.rows.chunk(slices)
        return self.run(lambda index: self.losses(parts[index]) * scale, slices=slices, batch=batch, knobs=knobs)

    def first_half(self, rows: Tensor) -> StepResult:
        """The step of a rank that has the first half of the batch."""
        batch = self.guards.filter(rows)
        return self.run(lambda _: self.losses(batch.rows[: BATCH // 2]), batch=batch)

    def run(
        self,
        loss_of: Callable[[int], Tensor],
        *,
        slices: int = 1,
        batch: Filtered | None = None,
        knobs: StepKnobs = KNOBS,
    ) -> StepResult:
        return self._step.run(loss_of, slices=slices, batch_size=BATCH, knobs=knobs, batch=batch)

    def weights(self) -> list[float]:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()]).tolist()


class OtherRank:
    """Stands for a second process with the other half of each batch, whose losses are given."""

    def __init__(self, *, losses: Sequence[float]) -> None:
        self._losses = torch.tensor(losses)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        *grads, loss, losses = tensors
        loss.add_(self._losses.sum() / BATCH)
        losses[-len(self._losses) :] += self._losses
        for grad in grads:
            grad.add_(0.0 * self._losses.sum())  # NaN if a loss is


def _batches(count: int, *, among: int = ROWS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randperm(among, generator=generator)[:BATCH] for _ in range(count)]


def test_poison_and_bad_gradients_then_200_healthy_steps_end_where_200_healthy_steps_end() -> None:
    healthy, disturbed = Training(poison=[60]), Training(poison=[60])
    disturbed.step(torch.tensor([0, 1, 2, 60, 4, 5, 6, 7]))
    weight = next(disturbed.model.parameters())
    # Losses of 0 whose gradients are NaN and infinite: a square root is infinitely steep at 0.
    disturbed.run(lambda _: (weight * 0.0).flatten().sqrt())
    disturbed.run(lambda _: (weight - weight.detach()).flatten().sqrt())
    disturbed.guards.judge()

    for rows in _batches(200, among=60):
        healthy.step(rows)
        disturbed.step(rows)

    assert disturbed.weights() == healthy.weights()
    assert disturbed.guards.skips.tolist() == [3, 0]


def test_without_trouble_it_is_the_plain_step_with_clip_grad_norm() -> None:
    guarded, plain = Training(adaptive=False), Training()
    optimizer = torch.optim.AdamW(plain.model.parameters(), lr=0.01, weight_decay=0.01)
    for rows in _batches(30):
        guarded.step(rows, scale=10.0)
        optimizer.zero_grad()
        (plain.losses(rows) * 10.0).mean().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 5.0)
        optimizer.step()

    assert int(guarded.guards.clipper.total_clips) > 5
    assert guarded.weights() == pytest.approx(plain.weights(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("slices", [2, 3, 8])
def test_micro_batches_give_the_step_of_the_whole_batch(slices: int) -> None:
    whole, parts = Training(), Training()
    for rows in _batches(20):
        first, second = whole.step(rows), parts.step(rows, slices=slices)

    assert parts.weights() == pytest.approx(whole.weights(), rel=1e-3, abs=1e-6)
    assert float(second.loss) == pytest.approx(float(first.loss), rel=1e-4)
    assert float(second.grad_norm) == pytest.approx(float(first.grad_norm), rel=1e-4)


def test_a_bad_micro_batch_costs_the_whole_step() -> None:
    training = Training(poison=[60])
    before = training.weights()

    result = training.step(torch.tensor([0, 1, 2, 3, 4, 5, 6, 60]), slices=4)

    assert not bool(result.ok)
    assert training.weights() == before


def test_a_poison_row_costs_one_step_and_no_learning_rate() -> None:
    training = Training(poison=[60, 61])
    rows = torch.tensor([0, 1, 60, 3, 4, 61, 6, 7])

    results = [bool(training.step(rows, slices=2).ok)]
    training.guards.judge()
    results += [bool(training.step(rows, slices=2).ok) for _ in range(2)]

    assert results == [False, True, True]
    assert training.guards.read().metrics["quarantine.rows"] == 2.0
    assert float(training.guards.multiplier) == 1.0


def test_a_row_in_quarantine_leaves_the_shares_of_the_others_as_they_are() -> None:
    training, without = Training(poison=[60]), Training()
    rows = torch.tensor([0, 1, 2, 60, 4, 5, 6, 7])
    training.step(rows)
    training.guards.judge()

    result = training.step(rows)
    expected = without.run(lambda _: without.losses(torch.tensor([0, 1, 2, 4, 5, 6, 7])))

    assert float(result.loss) == pytest.approx(float(expected.loss), rel=1e-6)
    assert float(result.grad_norm) == pytest.approx(float(expected.grad_norm), rel=1e-5)


def test_weights_that_are_nan_put_no_row_in_quarantine() -> None:
    training = Training()
    with torch.no_grad():
        next(training.model.parameters())[0, 0] = math.nan

    for rows in _batches(5):
        training.step(rows)
    training.guards.judge()

    assert training.guards.read().metrics["quarantine.rows"] == 0.0
    assert training.guards.read(training.model).emergency


def test_a_rescue_lowers_the_rate_of_the_steps_after_its_judgement() -> None:
    training = Training()
    rows = _batches(1)[0]
    training.step(rows, scale=math.nan)

    rates = []
    for _ in range(JUDGED_STEPS):
        training.step(rows)
        rates.append(float(training.optimizer.param_groups[0]["lr"]))

    assert rates == pytest.approx([0.01] * (JUDGED_STEPS - 2) + [0.001] * 2, rel=1e-4)


def test_knobs_of_the_step_reach_the_optimiser() -> None:
    training = Training()

    training.step(_batches(1)[0], knobs=StepKnobs(learning_rate=0.125, weight_decay=0.5, max_grad_norm=1.0))

    group = training.optimizer.param_groups[0]
    assert (float(group["lr"]), group["weight_decay"]) == (0.125, 0.5)


def test_a_learning_rate_of_zero_moves_nothing() -> None:
    training = Training()
    before = training.weights()

    training.step(_batches(1)[0], knobs=StepKnobs(learning_rate=0.0, weight_decay=0.5, max_grad_norm=1.0))

    assert training.weights() == before


def test_the_norm_is_unscaled_and_the_step_is_that_without_a_scaler() -> None:
    plain = Training()
    scaled = Training(scaler=torch.amp.GradScaler("cpu", init_scale=65536.0))
    for rows in _batches(10):
        first, second = plain.step(rows), scaled.step(rows)

    assert float(second.grad_norm) == float(first.grad_norm)  # a power of two scales without rounding
    assert scaled.weights() == plain.weights()


def test_an_overflow_halves_the_scale_and_is_no_emergency() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    training = Training(scaler=scaler)
    before = training.weights()

    result = training.step(_batches(1)[0], scale=100.0)

    assert not bool(result.ok)
    assert training.weights() == before
    assert scaler.get_scale() == 2.0**125
    assert float(training.guards.multiplier) == 1.0


def test_a_bad_step_on_another_rank_is_not_taken_here_either() -> None:
    training = Training(ranks=OtherRank(losses=[math.nan] * 4))
    before = training.weights()

    result = training.first_half(_batches(1)[0])
    training.guards.judge()

    assert not bool(result.ok)
    assert training.weights() == before
    assert int(training.guards.adapter.rescues) == 1


def test_a_poison_row_of_another_rank_is_marked_here_too() -> None:
    training = Training(ranks=OtherRank(losses=[0.5, 0.5, math.nan, 0.5]))
    rows = _batches(1)[0]

    training.first_half(rows)
    training.guards.judge()

    assert training.guards.quarantine.marks[:-1].nonzero().flatten().tolist() == [int(rows[6])]
    assert int(training.guards.adapter.rescues) == 0


def test_the_loss_is_that_of_the_whole_batch() -> None:
    alone, together = Training(), Training(ranks=OtherRank(losses=[1.0, 2.0, 3.0, 4.0]))
    rows = _batches(1)[0]

    own = alone.run(lambda _: alone.losses(rows[: BATCH // 2]))

    assert float(together.first_half(rows).loss) == pytest.approx(float(own.loss) + 10.0 / BATCH)


def test_a_forward_pass_that_raises_leaves_the_step_to_be_taken_again() -> None:
    training, undisturbed = Training(), Training()
    rows = _batches(1)[0]
    parts = rows.chunk(4)

    def lacks_memory(index: int) -> Tensor:
        if index == 2:
            raise torch.OutOfMemoryError
        return training.losses(parts[index])

    with pytest.raises(torch.OutOfMemoryError):
        training.run(lacks_memory, slices=4)
    training.step(rows, slices=4)
    undisturbed.step(rows, slices=4)

    assert training.weights() == undisturbed.weights()
    training.guards.judge()
    assert training.guards.skips.tolist() == [0, 0]


def test_a_clipper_that_raises_leaves_plain_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    training, plain = Training(), Training(adaptive=False)

    def breaks(*_: object, **__: object) -> None:
        raise ArithmeticError("a bug")

    monkeypatch.setattr(training.guards.clipper, "grad_scale", breaks)
    for rows in _batches(20):
        training.step(rows, scale=5.0)
        plain.step(rows, scale=5.0)

    assert training.weights() == plain.weights()
    assert [each.reason for each in training.guards.read().events] == ["GuardOff"]


@pytest.mark.parametrize("interrupted_after", [1, 150, 299])
def test_a_restored_training_ends_with_the_same_bits(interrupted_after: int) -> None:
    straight, first, second = Training(poison=[60]), Training(poison=[60]), Training(poison=[60])
    batches = _batches(300)
    for rows in batches:
        straight.step(rows, slices=2)

    for rows in batches[:interrupted_after]:
        first.step(rows, slices=2)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.guards.load_state_dict(first.guards.state_dict())
    for rows in batches[interrupted_after:]:
        second.step(rows, slices=2)

    assert second.weights() == straight.weights()


def _market_step(device: str) -> Callable[[], StepResult]:
    """A step of the market model with everything on, and statistics."""
    torch.manual_seed(0)
    model = HybridCNNLSTMv2(features=6, classes=2, hidden=8, lstm_layers=2, heads=2, dropout=0.3).to(device)
    inputs, targets = torch.randn(ROWS, 12, 6, device=device), torch.randint(0, 2, (ROWS,), device=device)
    inputs[5] = math.nan
    guards = IntegrationManager(GuardSettings(learning_rate=1e-3), rows=ROWS, device=torch.device(device))
    step = TrainStep(new_optimizer(model, weight_decay=0.01), guards=guards)
    statistics = StepStatistics(device=torch.device(device))
    rows = torch.arange(ROWS, device=device)

    def run() -> StepResult:
        batch = guards.filter(rows)
        parts = batch.rows.chunk(2)

        def loss_of(index: int) -> Tensor:
            return nn.functional.cross_entropy(model(inputs[parts[index]]), targets[parts[index]], reduction="none")

        result = step.run(loss_of, slices=2, batch_size=ROWS, knobs=KNOBS, batch=batch)
        statistics.add(result)
        return result

    return run


def test_nothing_is_read_by_the_host_between_log_points() -> None:
    step = _market_step("cpu")
    step()  # allocates the optimiser's moments

    with HostReads() as reads:
        results = [step() for _ in range(3 * JUDGED_STEPS)]

    assert reads.by_name == {}
    assert all(bool(each.ok) for each in results[JUDGED_STEPS:])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_never_waited_for_between_log_points() -> None:
    step = _market_step("cuda")
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = [step() for _ in range(3 * JUDGED_STEPS)]
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert all(bool(each.ok) for each in results[JUDGED_STEPS:])
