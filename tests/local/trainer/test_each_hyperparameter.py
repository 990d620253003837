"""Each hyperparameter of the training changed alone, seed and data the same: what must differ, by hand.

`@effect(name, of=..., to=...)` says which value replaces which (other keywords hold for both), and the function below
it what follows from that. A hyperparameter that is not there fails the suite. Those of data and model are in
`test_each_data_hyperparameter.py`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from tests.support.hyperparameter_effects import OF_DATA_AND_MODEL, PLAIN, Effects
from tests.support.market_trial import Trial
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster_trainer.audit.findings import AuditReport
from trainmaster_trainer.guards.manager import StepSignals

EFFECTS: Final = Effects()
effect = EFFECTS.enter

OF_TRAINING: Final = [name for name in MarketClassifierHyperparameters.model_fields if name not in OF_DATA_AND_MODEL]


def test_no_hyperparameter_is_without_an_effect() -> None:
    assert EFFECTS.keys() == set(OF_TRAINING)


@pytest.mark.parametrize("name", OF_TRAINING)
def test_changed_alone_it_does_what_was_worked_out_by_hand(name: str, tmp_path: Path) -> None:
    EFFECTS.check(name, folder=tmp_path)


# -- length, batch, learning rate -------------------------------------------------------------------------------------


@effect("epochs", of=1, to=3)
def _as_many_passes(before: Trial, after: Trial) -> None:
    assert [trial.trained().state.step for trial in (before, after)] == [before.visits // 32, 3 * (before.visits // 32)]


@effect("batch_size", of=32, to=16, epochs=1)
def _rows_of_a_step(before: Trial, after: Trial) -> None:
    for trial, size in ((before, 32), (after, 16)):
        assert trial.trained().state.step == trial.visits // size
        assert {rows for rows, _ in trial.asked} == {size}


@effect("gradient_accumulation_steps", of=1, to=4, **PLAIN)
def _parts_of_a_step_that_learn_the_same(before: Trial, after: Trial) -> None:
    whole, parts = before.weights_after_a_step(), after.weights_after_a_step()
    assert [rows for rows, _ in before.asked] == [32]
    assert [rows for rows, _ in after.asked] == [8, 8, 8, 8]
    # AdamW's first step is the gradient's sign: where that is nearly 0 rounding decides.
    apart = torch.cat([(whole[name] - parts[name]).abs().flatten() for name in whole])
    assert float((apart < 1e-6).float().mean()) > 0.99


@effect("learning_rate", of=0.001, to=0.002, weight_decay=0.0)
def _adamws_first_step_moves_each_weight_by_it(before: Trial, after: Trial) -> None:
    for trial, rate in ((before, 0.001), (after, 0.002)):
        weights = trial.weights_after_a_step()
        moved = torch.cat([(weights[name] - trial.untrained[name]).abs().flatten() for name in weights])
        assert float(moved.max()) == pytest.approx(rate, rel=1e-2)
        assert float(moved.median()) == pytest.approx(rate, rel=1e-2)


@effect("weight_decay", of=0.0, to=0.5, learning_rate=0.01)
def _takes_its_share_of_each_weight(before: Trial, after: Trial) -> None:
    plain, decayed = before.weights_after_a_step(), after.weights_after_a_step()
    for name, weight in before.untrained.items():
        torch.testing.assert_close(decayed[name] - plain[name], -0.01 * 0.5 * weight, atol=1e-6, rtol=1e-3)


@effect("min_learning_rate", of=1e-7, to=0.0015, lr_plateau_patience=1, lr_plateau_factor=0.1)
def _plateaus_end_at_it(before: Trial, after: Trial) -> None:
    assert before.multiplier_after_validations(21) == pytest.approx(1e-7 / 0.003, rel=1e-3)
    assert after.multiplier_after_validations(21) == pytest.approx(0.5)


@effect("lr_scheduler", of="cosine-annealing-warm-restarts", to="linear", epochs=40)
def _other_shapes(before: Trial, after: Trial) -> None:
    assert [before.rate(epoch) for epoch in (0, 5, 10, 20, 30)] == pytest.approx([1, 0.5, 1, 0.5, 1])
    assert [after.rate(epoch) for epoch in (0, 10, 20, 40)] == pytest.approx([1, 0.75, 0.5, 0])


@effect("scheduler_t_0", of=10, to=20, epochs=80)
def _length_of_the_first_cycle(before: Trial, after: Trial) -> None:
    assert [before.rate(epoch) for epoch in (5, 10, 20)] == pytest.approx([0.5, 1, 0.5])
    assert [after.rate(epoch) for epoch in (10, 20, 40)] == pytest.approx([0.5, 1, 0.5])


@effect("scheduler_t_mult", of=2, to=1, epochs=80)
def _each_cycle_longer_than_the_last(before: Trial, after: Trial) -> None:
    assert [before.rate(epoch) for epoch in (10, 20, 30, 50, 70)] == pytest.approx([1, 0.5, 1, 0.5, 1])
    assert [after.rate(epoch) for epoch in (10, 15, 20, 30)] == pytest.approx([1, 0.5, 1, 1])


@effect("scheduler_step_size", of=10, to=20, lr_scheduler="step", epochs=50)
def _epochs_between_drops(before: Trial, after: Trial) -> None:
    assert [before.rate(epoch) for epoch in (9, 10, 20)] == pytest.approx([1, 0.1, 0.01])
    assert [after.rate(epoch) for epoch in (19, 20, 40)] == pytest.approx([1, 0.1, 0.01])


@effect("scheduler_gamma", of=0.1, to=0.5, lr_scheduler="step", scheduler_step_size=10, epochs=50)
def _depth_of_a_drop(before: Trial, after: Trial) -> None:
    assert [before.rate(20), after.rate(20)] == pytest.approx([0.01, 0.25])


@effect("warmup_epochs", of=5, to=10, lr_scheduler="warmup-cosine", epochs=40)
def _epochs_of_the_rise(before: Trial, after: Trial) -> None:
    assert [before.rate(epoch) for epoch in (0, 2, 5, 40)] == pytest.approx([0, 0.4, 1, 0])
    assert [after.rate(epoch) for epoch in (0, 2, 5, 10, 25)] == pytest.approx([0, 0.2, 0.5, 1, 0.5])


@effect("early_stopping_patience", of=2, to=4, epochs=9, lr_scheduler="constant", batch_size=64)
def _epochs_without_a_better_one(before: Trial, after: Trial) -> None:
    before.fixed_val_loss = after.fixed_val_loss = 1.0  # the first is the best
    assert [trial.trained().state.epoch for trial in (before, after)] == [1 + 2, 1 + 4]


# -- guards -----------------------------------------------------------------------------------------------------------


@effect("lr_plateau_patience", of=10, to=3)
def _validations_that_a_plateau_lasts(before: Trial, after: Trial) -> None:
    for trial, patience in ((before, 10), (after, 3)):
        assert trial.multiplier_after_validations(patience) == 1.0  # the first is the best, so one is missing
        assert trial.multiplier_after_validations(1) == 0.5


@effect("lr_plateau_factor", of=0.5, to=0.2, lr_plateau_patience=1)
def _depth_of_a_plateaus_cut(before: Trial, after: Trial) -> None:
    assert [trial.multiplier_after_validations(3) for trial in (before, after)] == pytest.approx([0.5**2, 0.2**2])


@effect("emergency_lr_factor", of=0.1, to=0.25)
def _depth_of_a_rescue(before: Trial, after: Trial) -> None:
    for trial in (before, after):
        trial.see(loss=1e9)
    assert [float(trial.guards.multiplier) for trial in (before, after)] == pytest.approx([0.1, 0.25])


@effect("max_lr_rescues", of=3, to=1)
def _number_of_rescues(before: Trial, after: Trial) -> None:
    for trial in (before, after):
        trial.see(steps=180, loss=1e9)
    assert [float(trial.guards.multiplier) for trial in (before, after)] == pytest.approx([0.1**3, 0.1])


@effect("max_grad_norm", of=5.0, to=0.5)
def _ceiling_of_the_norm(before: Trial, after: Trial) -> None:
    assert [float(trial.see(steps=1, norm=10.0).grad_scale) for trial in (before, after)] == [10 / 5, 10 / 0.5]


@effect("adaptive_clipping", of=True, to=False)
def _norms_of_1_leave_a_threshold_of_2(before: Trial, after: Trial) -> None:
    for trial in (before, after):
        trial.see(steps=150, norm=1.0)
    scales = [float(trial.see(steps=1, norm=4.0).grad_scale) for trial in (before, after)]
    assert scales == pytest.approx([4 / 2, 1.0])


@effect("emergency_grad_norm", of=1000.0, to=50.0)
def _norm_of_an_emergency(before: Trial, after: Trial) -> None:
    for trial in (before, after):
        trial.see(norm=100.0)
    assert [int(trial.guards.clipper.emergency_clips) for trial in (before, after)] == [0, 10]
    assert [float(trial.guards.multiplier) for trial in (before, after)] == pytest.approx([1.0, 0.1])


@effect("quarantine", of=True, to=False)
def _a_row_without_a_finite_loss_counts_no_more(before: Trial, after: Trial) -> None:
    rows, losses = torch.arange(4), torch.tensor([1.0, math.nan, 1.0, 1.0])
    bad = StepSignals(loss=losses.sum(), norm=losses.sum(), ok=torch.tensor(False), rows=rows, losses=losses)  # noqa: FBT003  # a tensor's value
    for trial, weights in ((before, [1, 0, 1, 1]), (after, [1, 1, 1, 1])):
        for _ in range(10):
            trial.guards.step(bad, max_grad_norm=5.0)
        assert trial.guards.filter(rows).weights.tolist() == weights


# -- loss --------------------------------------------------------------------------------------------------------------


@effect("label_smoothing", of=0.0, to=0.3, use_focal_loss=False, use_augmentation=False, dropout=0.0)
def _mass_that_is_spread_over_all_classes(before: Trial, after: Trial) -> None:
    all_classes, right = before.log_probabilities()
    torch.testing.assert_close(before.row_losses(), -right)
    torch.testing.assert_close(after.row_losses(), -0.7 * right - 0.3 * all_classes.mean(dim=1))


@effect("use_focal_loss", of=True, to=False, **PLAIN)
def _plain_cross_entropy_without_it(before: Trial, after: Trial) -> None:
    _, right = before.log_probabilities()
    torch.testing.assert_close(after.row_losses(), -right)
    torch.testing.assert_close(before.row_losses(), -right * (1 - right.exp()) ** 2.5)


@effect("focal_gamma", of=2.5, to=1.0, **PLAIN)
def _power_of_the_focal_loss(before: Trial, after: Trial) -> None:
    _, right = before.log_probabilities()
    torch.testing.assert_close(after.row_losses(), -right * (1 - right.exp()))
    torch.testing.assert_close(before.row_losses() / after.row_losses(), (1 - right.exp()) ** 1.5)


@effect("use_augmentation", of=True, to=False, dropout=0.0)
def _the_same_row_looks_different_each_time(before: Trial, after: Trial) -> None:
    assert not torch.equal(before.row_losses(seed=1), before.row_losses(seed=2))
    assert torch.equal(after.row_losses(seed=1), after.row_losses(seed=2))


class Seen(nn.Module):
    """Keeps the windows that it is shown."""

    def forward(self, windows: Tensor) -> Tensor:
        self.windows = windows
        return windows[:, -1, :3]


@effect("gaussian_noise_std", of=0.01, to=0.5)
def _deviation_of_the_noise(before: Trial, after: Trial) -> None:
    clean = before.data.windows(torch.from_numpy(before.data.split.train[:100]))
    for trial, deviation in ((before, 0.01), (after, 0.5)):
        seen = Seen()
        trial.losses(seen, torch.arange(100), trial.settings.knobs)
        assert float((seen.windows - clean).std()) == pytest.approx(deviation, rel=0.02)
        assert float((seen.windows - clean).mean()) == pytest.approx(0, abs=deviation / 50)


# -- precision, device, seed, evaluation ------------------------------------------------------------------------------


@effect("precision", of="float32", to="bfloat16")
def _format_of_the_forward_pass_alone(before: Trial, after: Trial) -> None:
    for trial, asked in ((before, torch.float32), (after, torch.bfloat16)):
        weights = trial.weights_after_a_step()
        assert {each for _, each in trial.asked} == {asked}
        assert {weight.dtype for weight in weights.values()} == {torch.float32}


@effect("device", of="auto", to="cpu")
def _where_the_weights_are(before: Trial, after: Trial) -> None:
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert [next(trial.engine.state.model.parameters()).device.type for trial in (before, after)] == [best, "cpu"]


@effect("seed", of=0, to=1)
def _weights_and_order_follow_from_it(before: Trial, after: Trial) -> None:
    assert not torch.equal(before.untrained["head.weight"], after.untrained["head.weight"])
    assert not torch.equal(before.engine._sampler.batch(0), after.engine._sampler.batch(0))


@effect("leak_audit", of=True, to=False, evaluation="full")
def _the_audit_happens_or_not(before: Trial, after: Trial) -> None:
    with patch("trainmaster_trainer.market.workload.audit_market", return_value=AuditReport()) as audit:
        after.begin(tick=lambda: None)
        assert audit.call_count == 0
        before.begin(tick=lambda: None)
        assert audit.call_count == 1


def _judged(trial: Trial) -> tuple[set[str], set[str]]:
    """Names of the metrics and files of a verdict."""
    trial.judged = True
    result = trial.test(trial.model().eval(), history=[(1, {"val_loss": 1.0})], tick=lambda: None)
    return set(result.metrics), {artifact.name for artifact in result.artifacts}


@effect("evaluation", of="full", to="brief", leak_audit=False, export_onnx=False)
def _baselines_and_pictures_or_scores_alone(before: Trial, after: Trial) -> None:
    (full, files), (brief, few) = _judged(before), _judged(after)
    assert brief < full
    assert "logistic_log_loss" in full - brief
    assert "test_log_loss" in brief
    assert {name for name in files - few if name.endswith(".png")}
    assert not {name for name in few if name.endswith(".png")}


@effect("export_onnx", of=True, to=False, evaluation="full", leak_audit=False)
def _an_onnx_file_or_none(before: Trial, after: Trial) -> None:
    export = patch("trainmaster_trainer.market.judgement.export_onnx", side_effect=_Asked)
    with export, pytest.raises(_Asked):
        _judged(before)
    with export:
        assert "model.onnx" not in _judged(after)[1]


class _Asked(Exception):  # noqa: N818  # no error: it says that the export was asked for
    pass
