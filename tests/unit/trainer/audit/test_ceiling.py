from dataclasses import replace

import pytest

from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.ceiling import ceiling_metrics, judge_result, shows_skill
from trainmaster_trainer.audit.findings import AuditFinding, AuditReport, Severity
from trainmaster_trainer.evaluation.calibration import Calibration
from trainmaster_trainer.evaluation.intervals import Interval
from trainmaster_trainer.evaluation.report import EvaluationReport
from trainmaster_trainer.synthetic.ceiling import Ceiling

PRIOR = 0.50
PRIOR_LOG_LOSS = 0.693


def _around(value: float, *, error: float) -> Interval:
    return Interval(value=value, low=value - 2 * error, high=value + 2 * error, standard_error=error)


def _report(
    *, accuracy: float, gain: float = 0.01, rows: int = 10_000, classes: int = 2, f1: float = 0.4, error: float = 0.005
) -> EvaluationReport:
    """A result of so much accuracy, and so much less log-loss than the prior's."""
    return EvaluationReport(
        classes=tuple(f"c{n}" for n in range(classes)),
        metrics={
            "test_accuracy": accuracy,
            "prior_accuracy": PRIOR,
            "test_log_loss": PRIOR_LOG_LOSS - gain,
            "prior_log_loss": PRIOR_LOG_LOSS,
            "test_rows": float(rows),
        },
        intervals={
            "test_accuracy": _around(accuracy, error=error),
            "test_f1": _around(f1, error=error),
            "test_log_loss": _around(PRIOR_LOG_LOSS - gain, error=0.002),
            "prior_lift": _around(accuracy - PRIOR, error=error),
            "prior_log_loss_gain": _around(gain, error=0.002),
        },
        calibration=Calibration(temperature=1.0, shift=(0.0,) * classes),
        reliability_as_trained=(),
        reliability=(),
        confusion=(),
    )


def _ceiling(accuracy: float, *, log_loss: float = 0.6) -> Ceiling:
    return Ceiling(bayes_accuracy=accuracy, standard_error=0.004, log_loss=log_loss)


def _codes(findings: list[AuditFinding]) -> list[tuple[str, Severity]]:
    return [(each.code, each.severity) for each in findings]


@pytest.mark.parametrize(("accuracy", "refused"), [(0.516, False), (0.530, False), (0.532, True), (0.85, True)])
def test_more_than_bayes_and_three_standard_errors_is_a_proof(accuracy: float, refused: bool) -> None:  # noqa: FBT001  # the expectation
    """Bayes .516; the larger error, .005, counts: the limit is .531."""
    findings = judge_result(_report(accuracy=accuracy), ceiling=_ceiling(0.516))

    assert _codes(findings) == [(codes.ABOVE_CEILING, Severity.REFUSE)] * refused
    assert all("above the best possible 51.60% + 3 standard errors of 0.50%" in each.message for each in findings)


def test_a_high_result_under_a_high_ceiling_is_not_flagged() -> None:
    assert judge_result(_report(accuracy=0.84, gain=0.05, f1=0.8, classes=3), ceiling=_ceiling(0.85)) == []


def test_less_log_loss_than_the_truth_has_is_a_proof_as_well() -> None:
    (finding,) = judge_result(_report(accuracy=0.6, gain=0.1), ceiling=_ceiling(0.62, log_loss=0.65))

    assert finding.code == codes.ABOVE_CEILING
    assert "log-loss 0.5930 is below the best possible 0.6500" in finding.message


def test_few_rows_are_luck_even_where_the_bootstrap_sees_no_spread() -> None:
    assert judge_result(_report(accuracy=0.6, rows=25, error=0.0), ceiling=_ceiling(0.5)) == []


@pytest.mark.parametrize(
    ("classes", "lift", "flagged"), [(2, 0.079, False), (2, 0.081, True), (3, 0.099, False), (3, 0.101, True)]
)
def test_a_lift_that_no_honest_model_has_had_asks_for_a_person(classes: int, lift: float, flagged: bool) -> None:  # noqa: FBT001  # the expectation
    found = judge_result(_report(accuracy=PRIOR + lift, classes=classes))

    assert _codes(found) == [(codes.LIFT_TOO_GOOD, Severity.FLAG)] * flagged


def test_a_lift_on_few_rows_is_judged_by_its_lower_end() -> None:
    assert judge_result(_report(accuracy=0.60, rows=200, error=0.03)) == []
    assert _codes(judge_result(_report(accuracy=0.75, rows=200, error=0.03))) == [(codes.LIFT_TOO_GOOD, Severity.FLAG)]


def test_a_macro_f1_of_three_classes_above_55_asks_for_a_person_and_of_two_does_not() -> None:
    assert _codes(judge_result(_report(accuracy=0.55, classes=3, f1=0.56))) == [(codes.F1_TOO_GOOD, Severity.FLAG)]
    assert judge_result(_report(accuracy=0.55, classes=2, f1=0.56)) == []


def test_the_flag_says_whether_the_twins_were_asked() -> None:
    report = _report(accuracy=0.7)

    assert "likely a leak" in judge_result(report)[0].message
    assert "the twins found no leak in the pipeline" in judge_result(report, twins_passed=True)[0].message


def test_accuracy_without_likelihood_is_not_calibrated() -> None:
    (finding,) = judge_result(_report(accuracy=0.53, gain=-0.003))

    assert (finding.code, finding.severity) == (codes.NOT_CALIBRATED, Severity.FLAG)
    assert "0.6960 is worse than the prior's 0.6930" in finding.message


@pytest.mark.parametrize(("accuracy", "gain"), [(0.505, 0.001), (0.44, -0.01), (0.50, 0.0)])
def test_what_the_prior_does_as_well_is_no_skill(accuracy: float, gain: float) -> None:
    report = _report(accuracy=accuracy, gain=gain)

    assert _codes(judge_result(report)) == [(codes.NO_SKILL_SHOWN, Severity.NOTE)]
    assert not shows_skill(report, AuditReport())


def test_skill_is_shown_by_accuracy_and_log_loss_and_by_an_audit_without_refusal_or_flag() -> None:
    good = _report(accuracy=0.55)
    finding = AuditFinding(code=codes.LIFT_TOO_GOOD, severity=Severity.FLAG, message="")

    assert shows_skill(good, AuditReport())
    assert shows_skill(good, AuditReport(findings=(replace(finding, severity=Severity.NOTE),)))
    assert not shows_skill(good, AuditReport(findings=(finding,)))
    assert not shows_skill(good, AuditReport(findings=(replace(finding, severity=Severity.REFUSE),)))
    assert not shows_skill(_report(accuracy=0.505, gain=0.01), AuditReport())
    assert not shows_skill(_report(accuracy=0.55, gain=0.001), AuditReport())


def test_how_close_to_the_best_possible_is_a_number() -> None:
    metrics = ceiling_metrics(_report(accuracy=0.73, gain=0.0), _ceiling(0.74, log_loss=0.68))

    assert metrics["bayes_accuracy_gap"] == pytest.approx(0.01)
    assert metrics["bayes_log_loss_gap"] == pytest.approx(0.013)
