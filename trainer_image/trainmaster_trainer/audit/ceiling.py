"""Is a result too good, or good in name only?"""

from __future__ import annotations

import math
from typing import Final, Protocol

from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.findings import AuditFinding, AuditReport, Severity
from trainmaster_trainer.evaluation.intervals import Interval
from trainmaster_trainer.evaluation.report import EvaluationReport

STANDARD_ERRORS: Final = 3.0
"""How far above the best possible luck may lie."""
LIFT_LIMIT: Final = {2: 0.08}
LIFT_LIMIT_OF_MORE: Final = 0.10
"""Lift over the class prior that asks for a person, by number of classes: the largest honest ones on real bars were 4
points (2 classes) and 6 (3 classes), their upper ends 8 and 9."""
F1_LIMIT: Final = 0.55
"""Macro F1 of three classes that asks for a person: the largest honest one was .42, its upper end .45."""
ENOUGH_ROWS: Final = 1_000
"""With fewer test rows a lift is judged by the lower end of its interval: luck alone reaches 8 points there."""


class KnownCeiling(Protocol):
    """The best possible result on the test rows, where the source knows it."""

    @property
    def bayes_accuracy(self) -> float:
        """Accuracy of the true probabilities on these rows."""

    @property
    def standard_error(self) -> float:
        """Of that accuracy."""

    @property
    def log_loss(self) -> float:
        """Log-loss of the true probabilities on these rows, in nats."""


def judge_result(
    report: EvaluationReport, *, ceiling: KnownCeiling | None = None, twins_passed: bool = False
) -> list[AuditFinding]:
    """Findings about a trained model's result.

    Where the source declares a ceiling that alone decides what is too good; else what no honest result on real bars
    has ever reached is flagged, `twins_passed` or not: a twin cannot see a leak that lies in the data itself.
    """
    too_good = _above_ceiling(report, ceiling) if ceiling is not None else _too_good(report, twins_passed=twins_passed)
    return [*too_good, *_good_in_name_only(report)]


def shows_skill(report: EvaluationReport, audit: AuditReport) -> bool:
    """Whether a result may be called skill.

    It must be better than the class prior in accuracy and in log-loss, both with the lower end of the interval, and
    nothing may be refused or flagged.
    """
    gains = [report.intervals[name].low for name in ("prior_lift", "prior_log_loss_gain")]
    return min(gains) > 0 and not audit.of(Severity.REFUSE) and not audit.of(Severity.FLAG)


def ceiling_metrics(report: EvaluationReport, ceiling: KnownCeiling) -> dict[str, float]:
    """How close the result is to the best possible."""
    return {
        "bayes_accuracy": ceiling.bayes_accuracy,
        "bayes_log_loss": ceiling.log_loss,
        "bayes_accuracy_gap": ceiling.bayes_accuracy - report.metrics["test_accuracy"],
        "bayes_log_loss_gap": report.metrics["test_log_loss"] - ceiling.log_loss,
    }


def _above_ceiling(report: EvaluationReport, ceiling: KnownCeiling) -> list[AuditFinding]:
    accuracy, log_loss = report.intervals["test_accuracy"], report.intervals["test_log_loss"]
    rows = report.metrics["test_rows"]
    independent = math.sqrt(ceiling.bayes_accuracy * (1 - ceiling.bayes_accuracy) / rows)
    error = max(ceiling.standard_error, accuracy.standard_error, independent)
    problems = []
    if accuracy.value > ceiling.bayes_accuracy + STANDARD_ERRORS * error:
        problems.append(
            f"accuracy {accuracy.value:.2%} is above the best possible {ceiling.bayes_accuracy:.2%} + "
            f"{STANDARD_ERRORS:g} standard errors of {error:.2%}"
        )
    if log_loss.value < ceiling.log_loss - STANDARD_ERRORS * log_loss.standard_error:
        problems.append(
            f"log-loss {log_loss.value:.4f} is below the best possible {ceiling.log_loss:.4f} - {STANDARD_ERRORS:g} "
            f"standard errors of {log_loss.standard_error:.4f}"
        )
    if not problems:
        return []
    message = f"{' and '.join(problems)} on {rows:.0f} test rows: the model has seen what it must not see"
    return [AuditFinding(code=codes.ABOVE_CEILING, severity=Severity.REFUSE, message=message)]


def _too_good(report: EvaluationReport, *, twins_passed: bool) -> list[AuditFinding]:
    classes, rows = len(report.classes), report.metrics["test_rows"]
    lift, f1 = report.intervals["prior_lift"], report.intervals["test_f1"]
    limit = LIFT_LIMIT.get(classes, LIFT_LIMIT_OF_MORE)
    seen = (
        "the twins found no leak in the pipeline, but cannot see one in the data" if twins_passed else "likely a leak"
    )
    findings = []
    if _judged(lift, rows=rows) > limit:
        message = (
            f"{100 * lift.value:.1f} points of accuracy over the class prior ({100 * lift.low:.1f} to "
            f"{100 * lift.high:.1f}, {rows:.0f} test rows) are more than the {100 * limit:.0f} that honest models of "
            f"{classes} classes reach on real bars: {seen}; look at the features before it is used"
        )
        findings.append(AuditFinding(code=codes.LIFT_TOO_GOOD, severity=Severity.FLAG, message=message))
    if classes > 2 and _judged(f1, rows=rows) > F1_LIMIT:
        message = (
            f"macro F1 {f1.value:.3f} ({f1.low:.3f} to {f1.high:.3f}) is above {F1_LIMIT}, where honest models of "
            f"{classes} classes reach .45 on real bars: {seen}; look at the features before it is used"
        )
        findings.append(AuditFinding(code=codes.F1_TOO_GOOD, severity=Severity.FLAG, message=message))
    return findings


def _judged(each: Interval, *, rows: float) -> float:
    return each.value if rows >= ENOUGH_ROWS else each.low


def _good_in_name_only(report: EvaluationReport) -> list[AuditFinding]:
    m, lift, gain = report.metrics, report.intervals["prior_lift"], report.intervals["prior_log_loss_gain"]
    if lift.value > 0 > gain.value:
        message = (
            f"accuracy {m['test_accuracy']:.2%} is above the class prior's {m['prior_accuracy']:.2%}, but log-loss "
            f"{m['test_log_loss']:.4f} is worse than the prior's {m['prior_log_loss']:.4f}: the probabilities say less "
            "than the frequencies of the classes do; do not promote"
        )
        return [AuditFinding(code=codes.NOT_CALIBRATED, severity=Severity.FLAG, message=message)]
    if lift.low <= 0 and gain.low <= 0:
        message = (
            f"accuracy {m['test_accuracy']:.2%} is no skill: the class prior has {m['prior_accuracy']:.2%} on the same "
            f"rows (lift {100 * lift.low:+.1f} to {100 * lift.high:+.1f} points, log-loss gain {gain.low:+.4f} to "
            f"{gain.high:+.4f})"
        )
        return [AuditFinding(code=codes.NO_SKILL_SHOWN, severity=Severity.NOTE, message=message)]
    return []
