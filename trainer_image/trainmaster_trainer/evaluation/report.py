"""All that is said about a trained classifier on its test rows, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from pydantic import ConfigDict, TypeAdapter, with_config

from trainmaster_trainer.evaluation import pictures
from trainmaster_trainer.evaluation.baselines import Block, Tick, fitted_baselines, simple_baselines
from trainmaster_trainer.evaluation.calibration import (
    Calibration,
    ReliabilityBin,
    calibrate,
    expected_calibration_error,
    prior_shift,
    reliability,
)
from trainmaster_trainer.evaluation.intervals import Interval, Resampling, interval
from trainmaster_trainer.evaluation.predictions import Floats, Ints, Predictions, normalise, without_nonfinite
from trainmaster_trainer.evaluation.scores import Scores, auc, confusion

SCORES_OF_BASELINES: Final = ("accuracy", "f1", "log_loss")
DIRECTIONS: Final = ("down", "flat", "up")
"""Classes whose skill has two parts, which are told apart: whether the price moves, and where to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A file to keep beside the metrics."""

    name: str
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judged:
    """What `evaluate` looks at."""

    classes: tuple[str, ...]
    horizon: int
    """Stamps that a label reaches ahead."""
    seed: int
    train: Block
    """The rows of training, each once: without the repeats of oversampling."""
    test: Block
    validation: Predictions
    """What the model says on the validation rows, as trained; may hold values that are not finite."""
    test_log_probabilities: Floats
    """The same on the test rows."""
    trained_prior: Floats | None = None
    """Frequencies (classes,) that training saw: of an oversampled epoch, times class weights. None: the true ones."""
    history: Sequence[tuple[int, Mapping[str, float]]] = ()
    """Epoch and metrics of all validation points."""
    brief: bool = False
    """Leave out what takes seconds: fitted baselines and pictures."""


@with_config(ConfigDict(ser_json_inf_nan="strings", extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """The verdict on one trained model; `to_json` and `from_json` keep all but the artifacts."""

    classes: tuple[str, ...]
    metrics: dict[str, float]
    """Flat, with stable names, all finite: see `evaluate`."""
    intervals: dict[str, Interval]
    """Scores, lifts and gains with their intervals, by the metric's name."""
    calibration: Calibration
    reliability_as_trained: tuple[ReliabilityBin, ...]
    reliability: tuple[ReliabilityBin, ...]
    """After calibration."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts (classes that came, classes predicted) after calibration."""
    warnings: tuple[str, ...] = ()
    """What could not be done, and why."""
    artifacts: tuple[Artifact, ...] = field(default=(), compare=False)

    def to_json(self) -> bytes:
        """The report without its artifacts."""
        return _ADAPTER.dump_json(replace(self, artifacts=()), indent=1)

    @classmethod
    def from_json(cls, content: bytes) -> EvaluationReport:
        """A report that `to_json` wrote. Raises ValueError for anything else."""
        return _ADAPTER.validate_json(content)


_ADAPTER: Final[TypeAdapter[EvaluationReport]] = TypeAdapter(EvaluationReport)


def evaluate(judged: Judged, *, tick: Tick = lambda: None) -> EvaluationReport:
    """Calibrate, score beside the baselines on the same rows, draw; `tick` is called between the parts.

    Metrics: test_{accuracy,f1,balanced_accuracy,log_loss}, prior_lift (accuracy above the prior's, 0 to 1) and
    prior_log_loss_gain (nats better than the prior), each with _low and _high; of each baseline B its B_accuracy, B_f1,
    B_log_loss, and but for the prior the ends of the lift over it, B_lift_low and B_lift_high; ece, ece_as_trained,
    log_loss_as_trained, temperature, test_rows, nonfinite_predictions; for down, flat and up move_auc and sign_auc.
    B is prior, persistence, transition, logistic, boosting.
    Raises DataError if shapes do not fit, and what `tick` raises.
    """
    warnings: list[str] = []
    calibration = _calibration(judged, warnings=warnings)
    said, broken = without_nonfinite(judged.test_log_probabilities)
    if broken:
        warnings.append(f"the model gave {broken} of {len(said)} test rows no finite probabilities; judged as uniform")
    test = judged.test
    trained = Predictions(log_probabilities=normalise(said), targets=test.targets, times=test.times)
    model = trained.saying(calibration.apply(said))
    scores = _scores(judged, model=model, warnings=warnings, tick=tick)
    intervals = _intervals(scores)
    before, after = reliability(trained), reliability(model)
    counts = confusion(model)
    tick()
    artifacts = _artifacts(judged, counts=counts, reliability=(before, after), warnings=warnings)
    return EvaluationReport(
        classes=judged.classes,
        metrics={
            **_flat(scores, intervals),
            **_directions(model, classes=judged.classes),
            "ece": expected_calibration_error(after),
            "ece_as_trained": expected_calibration_error(before),
            "log_loss_as_trained": -float(trained.log_likelihood.mean()),
            "temperature": calibration.temperature,
            "test_rows": float(len(test.rows)),
            "nonfinite_predictions": float(broken),
        },
        intervals=intervals,
        calibration=calibration,
        reliability_as_trained=before,
        reliability=after,
        confusion=tuple(tuple(row) for row in counts.tolist()),
        warnings=tuple(warnings),
        artifacts=artifacts,
    )


def _scores(judged: Judged, *, model: Predictions, warnings: list[str], tick: Tick) -> dict[str, Scores]:
    """Scores of the model, as `test`, and of the baselines, all on the same resamples."""
    resampling = Resampling.over(model.times, horizon=judged.horizon, seed=judged.seed)
    tick()
    scores = {"test": resampling.scores(model)}
    for name, forecast in _baselines(judged, warnings=warnings, tick=tick).items():
        tick()
        scores[name] = resampling.scores(model.saying(forecast))
    return scores


def _calibration(judged: Judged, *, warnings: list[str]) -> Calibration:
    """The oversampled prior undone, then the temperature of the validation rows that have finite probabilities."""
    shift = (0.0,) * len(judged.classes)
    if judged.trained_prior is not None:
        counts = np.bincount(judged.train.targets, minlength=len(judged.classes))
        shift = prior_shift(counts / counts.sum(), judged.trained_prior)
    raw = judged.validation.log_probabilities
    finite = np.all(np.isfinite(raw), axis=1)
    if not finite.any():
        warnings.append(f"none of {len(raw)} validation rows has finite probabilities: no temperature is fitted")
        return Calibration(temperature=1.0, shift=shift)
    calibration = calibrate(raw[finite], judged.validation.targets[finite], shift=shift)
    if calibration.at_limit:
        warnings.append(
            f"the temperature is at its limit of {calibration.temperature:.3g}: on {int(finite.sum())} validation rows "
            "the probabilities say nothing, or everything"
        )
    return calibration


def _baselines(judged: Judged, *, warnings: list[str], tick: Tick) -> dict[str, Floats]:
    classes = len(judged.classes)
    found = simple_baselines(judged.train, judged.test, classes=classes)
    if judged.brief:
        return found
    try:
        found.update(fitted_baselines(judged.train, judged.test, classes=classes, seed=judged.seed, tick=tick))
    except ImportError as error:
        warnings.append(f"no logistic regression and no gradient boosting beside the model: {error}")
    return found


def _intervals(scores: Mapping[str, Scores]) -> dict[str, Interval]:
    model = scores["test"]
    found = {f"test_{name}": interval(getattr(model, name)) for name in Scores.__dataclass_fields__}
    for name, other in scores.items():
        if name != "test":
            found[f"{name}_lift"] = interval(model.accuracy - other.accuracy)
            found[f"{name}_log_loss_gain"] = interval(other.log_loss - model.log_loss)
    return found


def _flat(scores: Mapping[str, Scores], intervals: Mapping[str, Interval]) -> dict[str, float]:
    """The metrics that a report to the operator has room for; all intervals are in the report itself."""
    flat: dict[str, float] = {}
    for name, each in scores.items():
        flat |= {f"{name}_{score}": float(getattr(each, score)[0]) for score in SCORES_OF_BASELINES}
        if name not in ("test", "prior"):
            flat |= _with_ends(f"{name}_lift", intervals, value=False)
    for name in (f"test_{score}" for score in Scores.__dataclass_fields__):
        flat |= _with_ends(name, intervals)
    return flat | _with_ends("prior_lift", intervals) | _with_ends("prior_log_loss_gain", intervals)


def _with_ends(name: str, intervals: Mapping[str, Interval], *, value: bool = True) -> dict[str, float]:
    each = intervals[name]
    ends = {f"{name}_low": each.low, f"{name}_high": each.high}
    return {name: each.value, **ends} if value else ends


def _directions(model: Predictions, *, classes: Sequence[str]) -> dict[str, float]:
    """How well moves are told from rests, and ups from downs among the moves (areas under the ROC curve)."""
    if tuple(classes) != DIRECTIONS:
        return {}
    down, flat, up = model.log_probabilities.T
    moved = model.targets != DIRECTIONS.index("flat")
    found = {
        "move_auc": auc(-flat, positive=moved),
        "sign_auc": auc((up - down)[moved], positive=model.targets[moved] == DIRECTIONS.index("up")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _artifacts(
    judged: Judged,
    *,
    counts: Ints,
    reliability: tuple[Sequence[ReliabilityBin], Sequence[ReliabilityBin]],
    warnings: list[str],
) -> tuple[Artifact, ...]:
    """The pictures that can be drawn here."""
    if judged.brief:
        return ()
    try:
        drawn = {
            "confusion_matrix.png": pictures.confusion_matrix(counts, classes=judged.classes),
            "reliability.png": pictures.reliability_diagram(*reliability),
            "learning_curves.png": pictures.learning_curves(judged.history) if judged.history else b"",
        }
    except ImportError as error:
        warnings.append(f"no pictures: {error}")
        return ()
    return tuple(Artifact(name=name, content=content) for name, content in drawn.items() if content)
