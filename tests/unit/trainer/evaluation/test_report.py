import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from trainmaster.api.protocol import MAX_METRICS
from trainmaster_trainer.evaluation.baselines import UNKNOWN, Block
from trainmaster_trainer.evaluation.model_card import ExportRecord, ModelCard, ModelSignature
from trainmaster_trainer.evaluation.predictions import Floats, Predictions, normalise
from trainmaster_trainer.evaluation.report import EvaluationReport, Judged, evaluate

ROOM_FOR_OTHERS = 12
"""Metrics of a test point that are not the evaluation's: best epoch, findings of the audit."""


def _block(rows: int, *, seed: int, classes: int) -> tuple[Block, Floats]:
    """A block, and the true logits of its rows: the first `classes` features."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    inputs = np.concatenate([logits, rng.normal(size=(rows, 2))], axis=1).astype(np.float32)
    last = np.r_[UNKNOWN, targets[:-1]]
    return Block(inputs=inputs, rows=np.arange(rows), targets=targets, last_labels=last, times=np.arange(rows)), logits


def _judged(*, classes: tuple[str, ...] = ("down", "flat", "up"), loud: float = 2.0) -> Judged:
    """A model that knows the true logits and says them `loud` times too loudly."""
    train, _ = _block(600, seed=0, classes=len(classes))
    validation, known = _block(600, seed=1, classes=len(classes))
    test, asked = _block(900, seed=2, classes=len(classes))
    return Judged(
        classes=classes,
        horizon=1,
        seed=0,
        train=train,
        test=test,
        validation=Predictions(
            log_probabilities=normalise(loud * known), targets=validation.targets, times=validation.times
        ),
        test_log_probabilities=normalise(loud * asked),
        history=[(1, {"val_loss": 1.0}), (2, {"val_loss": 0.9})],
    )


def test_a_model_that_knows_the_truth_is_above_every_baseline_that_does_not_and_calibrated() -> None:
    report = evaluate(_judged())
    m = report.metrics

    assert m["temperature"] == pytest.approx(2.0, rel=0.15)
    assert m["ece"] < m["ece_as_trained"] / 2
    assert m["test_log_loss"] < m["log_loss_as_trained"]
    for name in ("prior", "persistence", "transition"):
        assert report.intervals[f"{name}_lift"].low > 0
        assert report.intervals[f"{name}_log_loss_gain"].low > 0
    assert m["prior_lift"] == pytest.approx(m["test_accuracy"] - m["prior_accuracy"])
    assert m["prior_log_loss_gain"] == pytest.approx(m["prior_log_loss"] - m["test_log_loss"])
    assert report.intervals["logistic_log_loss_gain"].low < 0.02, "logistic regression sees the logits, too"
    assert m["move_auc"] > 0.6
    assert m["sign_auc"] > 0.6
    assert sum(map(sum, report.confusion)) == m["test_rows"] == 900
    assert report.warnings == ()


def test_the_metrics_fit_into_one_point_and_are_finite() -> None:
    metrics = evaluate(_judged()).metrics

    assert len(metrics) <= MAX_METRICS - ROOM_FOR_OTHERS
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(metrics[f"{n}_low"] <= metrics[n] <= metrics[f"{n}_high"] for n in ("test_accuracy", "prior_lift"))


def test_a_report_survives_json_but_for_its_pictures() -> None:
    report = evaluate(_judged())

    assert EvaluationReport.from_json(report.to_json()) == report
    assert [artifact.name for artifact in report.artifacts] == [
        "confusion_matrix.png",
        "reliability.png",
        "learning_curves.png",
    ]
    assert EvaluationReport.from_json(report.to_json()).artifacts == ()


def test_a_brief_evaluation_says_the_same_without_fitted_baselines_and_pictures() -> None:
    judged = _judged()

    whole, brief = evaluate(judged), evaluate(replace(judged, brief=True))

    assert brief.artifacts == ()
    assert set(whole.metrics) - set(brief.metrics) >= {"logistic_accuracy", "boosting_accuracy"}
    assert brief.metrics == {name: whole.metrics[name] for name in brief.metrics}


def test_the_same_input_gives_the_same_report() -> None:
    assert evaluate(_judged()) == evaluate(_judged())


def test_other_classes_than_directions_have_no_areas_of_moves_and_signs() -> None:
    assert "sign_auc" not in evaluate(_judged(classes=("down", "up"))).metrics


def test_the_prior_of_an_oversampled_training_is_undone() -> None:
    judged = _judged()
    trained = np.array([0.8, 0.1, 0.1])
    judged = replace(judged, brief=True)
    bent = replace(
        judged,
        trained_prior=trained,
        test_log_probabilities=normalise(judged.test_log_probabilities + np.log(trained * 3)),
        validation=judged.validation.saying(normalise(judged.validation.log_probabilities + np.log(trained * 3))),
    )

    forgotten, undone = evaluate(replace(bent, trained_prior=None)).metrics, evaluate(bent).metrics

    assert undone["test_log_loss"] < forgotten["test_log_loss"] - 0.02
    assert undone["test_log_loss"] == pytest.approx(evaluate(judged).metrics["test_log_loss"], abs=0.01)


def test_predictions_that_are_not_finite_are_counted_warned_of_and_judged_as_no_idea() -> None:
    judged = _judged()
    judged.test_log_probabilities[:300] = np.nan
    judged.validation.log_probabilities[:100] = np.inf

    report = evaluate(judged)

    assert report.metrics["nonfinite_predictions"] == 300
    assert "300 of 900 test rows" in report.warnings[0]
    assert all(math.isfinite(value) for value in report.metrics.values())


def test_a_temperature_at_its_limit_is_warned_of() -> None:
    judged = _judged()
    wrong = judged.validation.saying(judged.validation.log_probabilities[::-1])

    (warning,) = evaluate(replace(judged, validation=wrong)).warnings

    assert "the temperature is at its limit of 20: on 600 validation rows" in warning


def test_a_model_of_nothing_but_nan_is_still_judged() -> None:
    judged = _judged()
    judged.test_log_probabilities[:] = np.nan
    judged.validation.log_probabilities[:] = np.nan

    report = evaluate(judged)

    assert report.metrics["test_log_loss"] == pytest.approx(math.log(3))
    assert any("no temperature" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("package", "warning", "lost"),
    [("sklearn", "no gradient boosting", "boosting_accuracy"), ("matplotlib", "no pictures", None)],
)
def test_a_missing_package_costs_its_part_and_says_so(
    monkeypatch: pytest.MonkeyPatch, package: str, warning: str, lost: str | None
) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    report = evaluate(_judged())

    assert any(warning in each for each in report.warnings)
    assert lost not in report.metrics
    assert bool(report.artifacts) == (package != "matplotlib")


def test_the_evaluation_ticks_between_its_parts() -> None:
    ticks: list[None] = []

    evaluate(_judged(), tick=lambda: ticks.append(None))

    assert len(ticks) >= 6


def test_a_model_card_survives_json() -> None:
    card = ModelCard(
        workload="market-classifier",
        signature=ModelSignature(window=24, feature_names=("return_1",), classes=("down", "up")),
        hyperparameters={"epochs": 3, "learning_rate": 5e-5, "use_focal_loss": True, "precision": "auto"},
        metrics={"test_accuracy": 0.5, "grad_norm": math.inf},
        data_source="package://bars/btc.csv",
        data_sha256="0" * 64,
        calibration_temperature=1.2,
        calibration_shift=(0.0, 0.1),
        git_commit="abc",
        onnx=ExportRecord(
            opset=18,
            exporter="dynamo",
            sha256="1" * 64,
            size_bytes=3,
            batches=(1, 7, 256),
            largest_difference=1e-7,
            tolerance=1e-4,
        ),
    )

    assert ModelCard.from_json(card.to_json()) == card
    assert json.loads(card.to_json())["hyperparameters"]["use_focal_loss"] is True
