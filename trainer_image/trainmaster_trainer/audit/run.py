"""The audit of a pipeline, whole: before training, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.checks import check_look_ahead, check_prepared
from trainmaster_trainer.audit.findings import AuditFinding, AuditReport, Severity
from trainmaster_trainer.audit.pipeline import AUDIT_ROWS, Pipeline
from trainmaster_trainer.audit.twins import ask_coin_flip_twin, ask_shuffled_labels
from trainmaster_trainer.errors import DataError
from trainmaster_trainer.evaluation.baselines import Tick
from trainmaster_trainer.evaluation.predictions import Floats, Times

TWINS: Final = {"audit_coin_flip_accuracy": ask_coin_flip_twin, "audit_shuffled_accuracy": ask_shuffled_labels}
"""Name of what is measured, and what measures it."""


def audit_pipeline(
    pipeline: Pipeline, *, seed: int, names: Sequence[str] = (), tick: Tick = lambda: None
) -> AuditReport:
    """Checks and twins of a workload's steps; `names` are those of the computed features.

    A missing scikit-learn, or too few rows for the split, are findings: training goes on without this part.
    """
    findings: list[AuditFinding] = []
    measured: dict[str, float] = {}
    try:
        findings += _look_at_steps(pipeline, names=names)
        for name, ask in TWINS.items():
            tick()
            found, highest = ask(pipeline, seed=seed, tick=tick)
            findings += found
            if highest is not None:
                measured[name] = highest
    except ImportError as error:
        findings.append(_incomplete(f"no memorising model was asked, {error}: install scikit-learn"))
    except DataError as error:
        findings.append(_incomplete(f"the newest {AUDIT_ROWS} rows do not go through the steps: {error}"))
    return AuditReport(findings=tuple(findings), measured=measured)


def _look_at_steps(pipeline: Pipeline, *, names: Sequence[str]) -> list[AuditFinding]:
    findings = check_prepared(pipeline.prepare(relabel=lambda labels: labels))
    if pipeline.computed(until=None) is not None:
        findings += check_look_ahead(partial(_computed, pipeline), names=names)
    return findings


def _computed(pipeline: Pipeline, until: Any) -> tuple[Times, Floats]:  # noqa: ANN401  # a time, of whatever kind
    computed = pipeline.computed(until=until)
    if computed is None:
        raise TypeError("a pipeline computes its features at one time and not at another")
    return computed


def _incomplete(message: str) -> AuditFinding:
    return AuditFinding(code=codes.AUDIT_INCOMPLETE, severity=Severity.NOTE, message=message)
