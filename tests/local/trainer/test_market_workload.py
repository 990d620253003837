from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.bars import bar_lines, write_bars, write_lines
from tests.support.training import newest_digest, start
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster_trainer.errors import ConfigurationError, DataError
from trainmaster_trainer.market.workload import MarketClassifier

SMALL: dict[str, Any] = {
    "epochs": 2, "batch_size": 32, "hidden_size": 8, "attention_heads": 2, "window": 6, "learning_rate": 0.003,
    "evaluation": "brief",
}  # fmt: skip
BARS = 400


def _workload(path: Path, **hyperparameters: Any) -> MarketClassifier:  # noqa: ANN401  # any value, bad ones too
    values = MarketClassifierHyperparameters.model_validate({**SMALL, **hyperparameters})
    return MarketClassifier.from_source(values, source=f"pvc://data/{path.name}", volumes={"data": str(path.parent)})


def _train_tensors(workload: MarketClassifier) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.from_numpy(workload.data.split.train)
    return workload.data.windows(rows), workload.data.targets[rows]


def _other_prices_from(first: int) -> list[str]:
    """The usual lines, but quite other bars from one on, at the same times."""
    lines, others = bar_lines(BARS), bar_lines(BARS, seed=99)
    later = [f"{a.split(',')[0]},{b.split(',', 1)[1]}" for a, b in zip(lines, others, strict=True)]
    return [*lines[:first], *later[first:]]


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("block", ["test", "validation"])
def test_other_bars_in_a_later_block_change_no_training_tensor_and_no_scaler(
    tmp_path: Path, block: str, horizon: int
) -> None:
    before = _workload(write_bars(tmp_path / "a.csv", BARS), horizon=horizon)
    first = int(getattr(before.data.split, block)[0])

    after = _workload(write_lines(tmp_path / "b.csv", _other_prices_from(first)), horizon=horizon)

    assert not torch.equal(before.data.inputs[first + 1 :], after.data.inputs[first + 1 :]), "the bars did change"
    for ours, theirs in zip(_train_tensors(before), _train_tensors(after), strict=True):
        assert torch.equal(ours, theirs)
    np.testing.assert_array_equal(before.data.scaler.mean, after.data.scaler.mean)
    np.testing.assert_array_equal(before.data.scaler.deviation, after.data.scaler.deviation)
    assert before.data.scaler.rows == before.train_rows == len(before.data.split.train)


def test_other_bars_in_the_test_block_change_no_validation_either(tmp_path: Path) -> None:
    before = _workload(write_bars(tmp_path / "a.csv", BARS))
    after = _workload(write_lines(tmp_path / "b.csv", _other_prices_from(int(before.data.split.test[0]))))

    rows = torch.from_numpy(before.data.split.validation)

    assert torch.equal(before.data.windows(rows), after.data.windows(rows))
    assert torch.equal(before.data.targets[rows], after.data.targets[rows])


def test_a_window_ends_at_its_bar(tmp_path: Path) -> None:
    workload = _workload(write_bars(tmp_path / "a.csv", BARS))

    window = workload.data.windows(torch.tensor([200]))

    assert torch.equal(window[0], workload.data.inputs[195:201])


def test_training_evaluation_and_prior_stand_side_by_side(tmp_path: Path) -> None:
    engine, session = start(tmp_path / "ckpt", workload=_workload(write_bars(tmp_path / "a.csv", BARS)))

    metrics = engine.run()

    assert [set(p["metrics"]) for p in session.of("validation")] == 2 * [
        {
            "train_loss", "train_eval_loss", "val_loss", "val_accuracy", "val_f1", "learning_rate", "grad_norm",
            "grad_norm_max", "nonfinite_steps", "param_scheduler.total_changes",
        }
    ]  # fmt: skip
    assert {
        "test_accuracy", "test_f1", "test_log_loss", "prior_accuracy", "prior_f1", "prior_log_loss", "test_rows",
    } <= set(metrics)  # fmt: skip
    assert metrics["test_rows"] == len(engine._workload.data.split.test)  # type: ignore[attr-defined]  # the market's own
    assert 0 < metrics["prior_log_loss"] < 1.5


def test_the_real_model_resumes_bit_for_bit(tmp_path: Path) -> None:
    path = write_bars(tmp_path / "a.csv", BARS)
    straight, session = start(tmp_path / "straight", workload=_workload(path))
    straight.run()

    first, _ = start(tmp_path / "cut", workload=_workload(path), every_steps=3)
    first._train_epoch()
    second, again = start(tmp_path / "cut", workload=_workload(path), launch=2)
    second.run()

    assert newest_digest(tmp_path / "cut") == newest_digest(tmp_path / "straight")
    assert again.of("validation") == session.of("validation")
    assert again.ended == session.ended


def test_it_learns_what_can_be_learnt(tmp_path: Path) -> None:
    # Bars that take back 30 % of each move: a model that learns beats the class prior's log-loss.
    path = write_bars(tmp_path / "a.csv", 3000)
    workload = _workload(path, epochs=6, batch_size=64, learning_rate=0.003, dropout=0.1, label_smoothing=0.0)

    metrics = start(tmp_path / "ckpt", workload=workload)[0].run()

    assert metrics["test_log_loss"] < metrics["prior_log_loss"]
    assert metrics["test_accuracy"] > metrics["prior_accuracy"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (1, "1 rows are too few for one window: no 6 rows in a row are complete and have a label 1 rows later"),
        (66, "66 rows are too few for one window"),
        (67, "1 usable rows leave none for the"),
        (200, "134 usable rows leave none for the validation block"),
    ],
)
def test_too_few_bars_are_refused(tmp_path: Path, rows: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _workload(write_bars(tmp_path / "a.csv", rows))


def test_fewer_windows_than_one_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"400 rows leave \d+ training windows, fewer than one batch of 512: give more"):
        _workload(write_bars(tmp_path / "a.csv", BARS), batch_size=512)


def test_few_bars_are_worth_a_warning_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workload = _workload(write_bars(tmp_path / "a.csv", 1066))

    rows = len(workload.data.split.test)
    assert rows == 200
    assert "1066 rows are few: an accuracy on 200 test rows is uncertain by +-6.9 points (95 %)" in caplog.text


def test_enough_bars_are_worth_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _workload(write_bars(tmp_path / "a.csv", 5000))

    assert "are few" not in caplog.text


def test_bars_of_one_class_are_refused(tmp_path: Path) -> None:
    lines = [f"2020-01-{1 + i // 24:02d} {i % 24:02d}:00,5,5,5,5,1" for i in range(BARS)]

    with pytest.raises(
        DataError, match=r"the training rows lack a class \(down: 0, flat: \d+, up: 0; .*change dead_zone"
    ):
        _workload(write_lines(tmp_path / "a.csv", lines))


def test_a_dead_zone_that_swallows_every_move_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lack a class .*dead_zone 10\.0"):
        _workload(write_bars(tmp_path / "a.csv", BARS), dead_zone=10)


def test_the_same_bars_have_the_same_fingerprint_and_others_another(tmp_path: Path) -> None:
    a, b, c = (write_bars(tmp_path / f"{seed}.csv", BARS, seed=seed // 2) for seed in (0, 1, 2))

    assert _workload(a).fingerprint == _workload(b).fingerprint != _workload(c).fingerprint


@pytest.mark.parametrize("value", [0.01, "1e-2"])
def test_a_directive_may_set_the_learning_rate(tmp_path: Path, value: float | str) -> None:
    workload = _workload(write_bars(tmp_path / "a.csv", BARS))

    assert workload.adjusted({"learning_rate": value}) == {"learning_rate": 0.01}


@pytest.mark.parametrize(
    ("values", "message"),
    [({"batch_size": 5}, "batch_size cannot be changed"), ({"learning_rate": -1}, "learning_rate")],
)
def test_a_directive_may_set_nothing_else(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    workload = _workload(write_bars(tmp_path / "a.csv", BARS))

    with pytest.raises(ConfigurationError, match=message):
        workload.adjusted(values)
