"""The verdict on a trained market classifier: evaluation, ONNX file, model card."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster_trainer.audit.ceiling import ceiling_metrics, judge_result, shows_skill
from trainmaster_trainer.audit.findings import AuditReport
from trainmaster_trainer.evaluation.model_card import ExportRecord, ModelCard, ModelSignature
from trainmaster_trainer.evaluation.onnx_export import ExportError, export_onnx
from trainmaster_trainer.evaluation.predictions import Predictions
from trainmaster_trainer.evaluation.report import Artifact, EvaluationReport, Judged, evaluate
from trainmaster_trainer.market.data import FEATURE_LIMIT, MarketData
from trainmaster_trainer.workload import TestResult, Tick

log = logging.getLogger(__name__)

GIT_COMMIT_VARIABLE: Final = "GIT_COMMIT"
"""What builds of images and CI systems call it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Said:
    """What a model says, (rows, classes) log probabilities, and how it came to that."""

    validation: Floats
    test: Floats
    trained_prior: Floats
    """(classes,): frequencies that training saw."""
    history: Sequence[tuple[int, Mapping[str, float]]]
    """Epoch and metrics of all validation points."""


def judge(
    model: nn.Module,
    said: Said,
    *,
    data: MarketData,
    hyperparameters: MarketClassifierHyperparameters,
    source: str,
    audit: AuditReport | None,
    tick: Tick,
) -> TestResult:
    """Judge what a model says on the validation and test rows of its data."""
    split, dataset = data.split, data.dataset
    report = evaluate(
        Judged(
            classes=dataset.classes,
            horizon=dataset.horizon,
            seed=hyperparameters.seed,
            train=data.block(split.train),
            test=data.block(split.test),
            validation=Predictions(
                log_probabilities=said.validation,
                targets=dataset.labels[split.validation],
                times=dataset.time[split.validation],
            ),
            test_log_probabilities=said.test,
            trained_prior=said.trained_prior,
            history=said.history,
            brief=hyperparameters.evaluation == "brief",
        ),
        tick=tick,
    )
    truth = dataset.truth
    ceiling = None if truth is None else truth.ceiling(split.test, window=data.window)
    found = (audit or AuditReport()).with_findings(
        judge_result(report, ceiling=ceiling, twins_passed=audit is not None and audit.twins_passed)
    )
    metrics = {
        **report.metrics,
        **(ceiling_metrics(report, ceiling) if ceiling else {}),
        **found.metrics,
        "shows_skill": float(shows_skill(report, found)),
    }
    for finding in found.findings:
        log.warning("audit: %s: %s", finding.code, finding.message)
    warnings = list(report.warnings)
    wanted = hyperparameters.export_onnx and hyperparameters.evaluation == "full"
    onnx = _exported(model, report=report, data=data, wanted=wanted, warnings=warnings)
    for warning in warnings:
        log.warning("evaluation: %s", warning)
    card = ModelCard(
        workload="market-classifier",
        signature=ModelSignature(
            window=data.window,
            feature_names=dataset.feature_names,
            classes=dataset.classes,
            feature_mean=tuple(data.scaler.mean.tolist()),
            feature_deviation=tuple(data.scaler.deviation.tolist()),
            feature_limit=FEATURE_LIMIT,
        ),
        hyperparameters=hyperparameters.model_dump(),
        metrics=metrics,
        data_source=source,
        data_sha256=dataset.fingerprint,
        calibration_temperature=report.calibration.temperature,
        calibration_shift=report.calibration.shift,
        git_commit=os.environ.get(GIT_COMMIT_VARIABLE),
        onnx=onnx[1] if onnx else None,
        findings=tuple(f"{finding.code}: {finding.message}" for finding in found.findings),
        warnings=tuple(warnings),
    )
    files = (*report.artifacts, Artifact(name="evaluation.json", content=report.to_json()))
    files += (
        Artifact(name="model-card.json", content=card.to_json()),
        Artifact(name="leak-audit.json", content=found.to_json()),
    )
    return TestResult(metrics=metrics, artifacts=(*files, onnx[0]) if onnx else files)


def _exported(
    model: nn.Module, *, report: EvaluationReport, data: MarketData, wanted: bool, warnings: list[str]
) -> tuple[Artifact, ExportRecord] | None:
    """The ONNX file and how it was made; None, with a warning, where there is none: the model is as good without."""
    if not wanted:
        return None
    try:
        exported = export_onnx(model, report.calibration, window=data.window, features=len(data.dataset.feature_names))
    except ExportError as error:
        warnings.append(str(error))
        return None
    return Artifact(name="model.onnx", content=exported.content), exported.record
