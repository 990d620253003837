"""Each hyperparameter of data and model changed alone, seed and data the same: what must differ, by hand.

`@effect(name, of=..., to=...)` says which value replaces which (other keywords hold for both), and the function below
it what follows from that. A hyperparameter that is not there fails the suite.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch

from tests.support.bars import bar_lines
from tests.support.hyperparameter_effects import BARS, OF_DATA_AND_MODEL, PLAIN, Effects
from tests.support.market_trial import Trial

EFFECTS: Final = Effects()
effect = EFFECTS.enter


def test_no_hyperparameter_is_without_an_effect() -> None:
    assert EFFECTS.keys() == OF_DATA_AND_MODEL


@pytest.mark.parametrize("name", sorted(OF_DATA_AND_MODEL))
def test_changed_alone_it_does_what_was_worked_out_by_hand(name: str, tmp_path: Path) -> None:
    EFFECTS.check(name, folder=tmp_path)


def _counts(trial: Trial) -> list[int]:
    counts: list[int] = np.bincount(trial.data.dataset.labels[trial.data.split.train], minlength=3).tolist()
    return counts


# -- rows of an epoch --------------------------------------------------------------------------------------------------


@effect("use_oversampling", of=True, to=False)
def _rare_classes_are_raised_to_half_of_the_largest(before: Trial, after: Trial) -> None:
    counts = _counts(before)
    assert min(counts) < max(counts) / 2, "there is something to raise"
    assert before.visits == len(before.epoch_rows(0)) == sum(max(n, math.ceil(max(counts) / 2)) for n in counts)
    assert after.visits == len(after.epoch_rows(0)) == sum(counts)


@effect("oversample_ratio", of=0.5, to=1.0)
def _all_classes_equally_often(before: Trial, after: Trial) -> None:
    targets = torch.from_numpy(after.data.dataset.labels[after.data.split.train])
    counts = _counts(after)
    assert torch.bincount(targets[after.epoch_rows(0)]).tolist() == 3 * [max(counts)]
    assert torch.bincount(targets[before.epoch_rows(0)]).min() == math.ceil(max(counts) / 2)


@effect("use_class_weights", of=False, to=True, use_oversampling=False, **PLAIN)
def _each_class_weighs_the_same_in_all(before: Trial, after: Trial) -> None:
    counts = torch.tensor(_counts(before))
    targets = torch.from_numpy(before.data.dataset.labels[before.data.split.train[:20]])
    torch.testing.assert_close(after.row_losses() / before.row_losses(), (counts.sum() / (3 * counts))[targets])


# -- data -------------------------------------------------------------------------------------------------------------


@effect("window", of=6, to=12)
def _bars_of_a_window(before: Trial, after: Trial) -> None:
    ends = torch.tensor([200])
    assert [trial.data.windows(ends).shape[1] for trial in (before, after)] == [6, 12]
    assert torch.equal(after.data.windows(ends)[0], after.data.inputs[189:201])
    assert after.data.split.train[0] - before.data.split.train[0] == 12 - 6


@effect("horizon", of=1, to=3, dead_zone=0.0)
def _bars_that_a_label_looks_ahead(before: Trial, after: Trial) -> None:
    close = np.array([float(line.split(",")[4]) for line in bar_lines(BARS)])
    for trial, ahead in ((before, 1), (after, 3)):
        rows = trial.data.split.train
        assert (trial.data.dataset.labels[rows] == (close[rows + ahead] > close[rows])).all()
        assert trial.data.split.validation[0] - rows[-1] == 24 + ahead + 1


@effect("dead_zone", of=1.0, to=0.43)
def _share_of_the_class_flat(before: Trial, after: Trial) -> None:
    # The share of a normal distribution within 1 and 0.43 deviations.
    shares = [_counts(trial)[1] / sum(_counts(trial)) for trial in (before, after)]
    assert shares == pytest.approx([0.683, 0.333], abs=0.1)


def _usable(trial: Trial) -> int:
    """Rows of the blocks, and those between them: embargo and horizon, twice."""
    split = trial.data.split
    return len(split.train) + len(split.validation) + len(split.test) + 2 * (24 + 1)


@effect("validation_share", of=0.1, to=0.2)
def _share_to_validate_on(before: Trial, after: Trial) -> None:
    for trial, share in ((before, 0.1), (after, 0.2)):
        assert len(trial.data.split.validation) == round(_usable(trial) * share) - (24 + 1)
        assert len(trial.data.split.test) == round(_usable(trial) * 0.2)


@effect("test_share", of=0.2, to=0.3)
def _share_to_test_on(before: Trial, after: Trial) -> None:
    for trial, share in ((before, 0.2), (after, 0.3)):
        assert len(trial.data.split.test) == round(_usable(trial) * share)
        assert trial.data.split.test[-1] == before.data.split.test[-1], "the newest"


@effect("embargo", of=24, to=5)
def _bars_between_the_blocks(before: Trial, after: Trial) -> None:
    for trial, embargo in ((before, 24), (after, 5)):
        split = trial.data.split
        assert split.validation[0] - split.train[-1] == split.test[0] - split.validation[-1] == embargo + 1 + 1


# -- model ------------------------------------------------------------------------------------------------------------


def _parameters(*, features: int, hidden: int, layers: int) -> int:
    convolutions = 3 * features * hidden + hidden + 3 * hidden * hidden + hidden
    lstm = layers * 4 * (2 * hidden * hidden + 2 * hidden)
    attention = 4 * (hidden * hidden + hidden)
    return convolutions + lstm + attention + 2 * hidden + (2 * hidden * 3 + 3)


def _size(trial: Trial) -> int:
    return sum(weight.numel() for weight in trial.build_model().parameters())


@effect("hidden_size", of=8, to=16)
def _width_of_all_parts(before: Trial, after: Trial) -> None:
    features = before.data.inputs.shape[1]
    assert [_size(before), _size(after)] == [_parameters(features=features, hidden=h, layers=1) for h in (8, 16)]


@effect("lstm_layers", of=1, to=2)
def _layers_one_after_the_other(before: Trial, after: Trial) -> None:
    features = before.data.inputs.shape[1]
    assert [_size(before), _size(after)] == [_parameters(features=features, hidden=8, layers=n) for n in (1, 2)]


@effect("attention_heads", of=2, to=4, **PLAIN)
def _the_same_weights_look_back_otherwise(before: Trial, after: Trial) -> None:
    models: list[Any] = [before.model(), after.model()]
    assert [model.attention.num_heads for model in models] == [2, 4]
    assert _size(before) == _size(after)
    assert not torch.equal(before.row_losses(), after.row_losses())


@effect("dropout", of=0.4, to=0.1)
def _share_of_activations_dropped(before: Trial, after: Trial) -> None:
    for trial, share in ((before, 0.4), (after, 0.1)):
        model: Any = trial.model()
        assert float((model.dropout(torch.ones(100_000)) == 0).float().mean()) == pytest.approx(share, abs=0.01)
        assert torch.equal(model.eval().dropout(torch.ones(10)), torch.ones(10))
