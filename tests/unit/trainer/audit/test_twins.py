from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.support.leaks import BrokenSteps, Imbalanced, Leak, noise_bars
from trainmaster_trainer.audit import codes, twins
from trainmaster_trainer.audit.findings import Severity
from trainmaster_trainer.audit.pipeline import UNKNOWN
from trainmaster_trainer.audit.twins import (
    TwinResult,
    ask_coin_flip_twin,
    ask_memorisers,
    ask_shuffled_labels,
    block_shuffle,
    directed,
    stretch_length,
)

BARS = 2_000


def _tick() -> None:
    pass


def test_shuffled_labels_are_the_same_ones_in_stretches_and_unknown_ones_stay() -> None:
    labels = np.r_[np.full(7, UNKNOWN), np.arange(400), np.full(6, UNKNOWN)]

    shuffled = block_shuffle(labels, horizon=3, seed=0)

    assert (shuffled[:7] == UNKNOWN).all()
    assert (shuffled[-6:] == UNKNOWN).all()
    assert sorted(shuffled.tolist()) == sorted(labels.tolist())
    together = (np.diff(shuffled[7:-6]) == 1).mean()
    assert together > 1 - 1.5 / stretch_length(3), "neighbours stay neighbours but where stretches meet"
    assert (shuffled == labels).mean() < 0.5


def test_labels_that_are_all_unknown_can_be_shuffled() -> None:
    assert block_shuffle(np.full(3, UNKNOWN), horizon=1, seed=0).tolist() == [UNKNOWN] * 3


def test_only_moves_are_asked_of_a_twin_since_how_large_one_is_can_be_known() -> None:
    prepared = BrokenSteps(dead_zone=0.43).pipeline(noise_bars(600, seed=0)).prepare(relabel=lambda labels: labels)

    asked = directed(prepared)

    assert asked.classes == 2
    assert set(asked.labels[asked.test].tolist()) == {0, 1}
    assert len(asked.test) == (prepared.labels[prepared.test] != 1).sum()
    np.testing.assert_array_equal(asked.labels[asked.test] == 1, prepared.labels[asked.test] == 2)


@pytest.mark.parametrize("dead_zone", [0.0, 0.43])
def test_a_sound_pipeline_knows_nothing_of_its_twins(dead_zone: float) -> None:
    pipeline = BrokenSteps(dead_zone=dead_zone).pipeline(noise_bars(BARS, seed=0, reversal=0.3))

    for ask in (ask_coin_flip_twin, ask_shuffled_labels):
        findings, highest = ask(pipeline, seed=0, tick=_tick)
        assert findings == []
        assert highest is not None
        assert 0.3 < highest < 0.56


@pytest.mark.parametrize(
    ("leak", "at_least"),
    [(Leak.SHUFFLED_SPLIT, 0.60), (Leak.PRICE_LEVEL, 0.60), (Leak.FEATURES_LATE, 0.55), (Leak.NOISY_COPIES, 0.80)],
)
def test_a_memorising_model_knows_a_coin_flip_twin_through_a_leak(leak: Leak, at_least: float) -> None:
    pipeline = BrokenSteps(leak=leak).pipeline(noise_bars(BARS, seed=0))

    findings, highest = ask_coin_flip_twin(pipeline, seed=0, tick=_tick)

    assert {each.code for each in findings} == {codes.TWIN_ABOVE_CHANCE}
    assert {each.severity for each in findings} == {Severity.REFUSE}
    assert highest is not None
    assert highest > at_least
    assert "50.0% is chance" in findings[0].message


@pytest.mark.parametrize("leak", [Leak.SHUFFLED_SPLIT, Leak.OVERSAMPLED_FIRST])
def test_it_knows_shuffled_labels_through_a_leak_of_the_split(leak: Leak) -> None:
    pipeline = BrokenSteps(leak=leak, dead_zone=1.5 if leak is Leak.OVERSAMPLED_FIRST else 0.0).pipeline(
        noise_bars(BARS, seed=0)
    )

    findings, _ = ask_shuffled_labels(pipeline, seed=0, tick=_tick)

    assert {each.code for each in findings} == {codes.SHUFFLED_LABELS_ABOVE_CHANCE}


def test_a_rare_class_of_pure_noise_is_found_in_98_percent_when_it_is_repeated_before_the_split() -> None:
    """training_health 3.2: balanced accuracy 97.8 % where 50 % is the truth."""
    leaky, sound = Imbalanced(leak=Leak.OVERSAMPLED_FIRST).pipeline(), Imbalanced().pipeline()

    findings, highest = ask_shuffled_labels(leaky, seed=0, tick=_tick)

    assert highest is not None
    assert highest > 0.97
    assert {each.code for each in findings} == {codes.SHUFFLED_LABELS_ABOVE_CHANCE}
    assert ask_shuffled_labels(sound, seed=0, tick=_tick)[0] == []


def test_a_table_has_no_directions_to_flip() -> None:
    assert ask_coin_flip_twin(Imbalanced().pipeline(), seed=0, tick=_tick) == ([], None)


def _draws(monkeypatch: pytest.MonkeyPatch, *distances: float) -> None:
    """What the extra trees know in each draw, in standard errors above chance."""
    drawn: Iterator[float] = iter(distances)

    def scripted(*_: object, **__: object) -> list[TwinResult]:
        found = TwinResult(model="extra trees", balanced_accuracy=0.5, chance=0.5, standard_error=0.01, rows=1000)
        return [replace(found, balanced_accuracy=0.5 + 0.01 * next(drawn))]

    monkeypatch.setattr(twins, "ask_memorisers", scripted)


@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        ((2.9,), []),
        ((3.1, 2.9), []),
        ((3.1, -3.1), []),
        ((3.1, 3.1), [(codes.TWIN_ABOVE_CHANCE, Severity.REFUSE)]),
        ((-3.1, -3.1), [(codes.TWIN_BELOW_CHANCE, Severity.FLAG)]),
    ],
)
def test_luck_is_told_from_a_leak_by_a_second_draw(
    monkeypatch: pytest.MonkeyPatch, draws: tuple[float, ...], expected: list[tuple[str, Severity]]
) -> None:
    _draws(monkeypatch, *draws)

    findings, highest = ask_coin_flip_twin(BrokenSteps().pipeline(noise_bars(600, seed=0)), seed=0, tick=_tick)

    assert [(each.code, each.severity) for each in findings] == expected
    assert highest == pytest.approx(0.5 + 0.01 * draws[0])


def test_features_that_are_not_finite_do_not_end_the_audit() -> None:
    prepared = BrokenSteps().pipeline(noise_bars(600, seed=0)).prepare(relabel=lambda labels: labels)
    prepared.features[::7, 3], prepared.features[5, 4] = np.nan, np.inf

    results = ask_memorisers(prepared, dependence=6, seed=0, tick=_tick)

    assert {each.model for each in results} == {"extra trees", "nearest neighbour"}
    assert all(np.isfinite(each.distance) for each in results)


def test_nobody_is_asked_where_there_is_one_class_only() -> None:
    prepared = BrokenSteps().pipeline(noise_bars(600, seed=0)).prepare(relabel=np.zeros_like)

    assert ask_memorisers(prepared, dependence=6, seed=0, tick=_tick) == []
