"""Broken pipelines on data without skill (training_health 3.1-3.2, data 4): none of them is reported as skill.

Each is trained by a model that memorises, judged, and audited: what the score shows is refused by the twins, what no
score shows is refused by the checks of the code.
"""

import numpy as np
import pytest
from sklearn.ensemble import (  # type: ignore[import-untyped]  # it has no types
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
)

from tests.support.leaks import BrokenSteps, Imbalanced, Leak, noise_bars
from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.ceiling import judge_result, shows_skill
from trainmaster_trainer.audit.findings import AuditReport
from trainmaster_trainer.audit.pipeline import Prepared
from trainmaster_trainer.audit.run import audit_pipeline
from trainmaster_trainer.evaluation.baselines import Block, last_known_labels
from trainmaster_trainer.evaluation.predictions import Floats, Ints, Predictions
from trainmaster_trainer.evaluation.report import EvaluationReport, Judged, evaluate

BARS = 2_000
INVISIBLE = {
    Leak.SCALER_ON_ALL: {codes.FITTED_ON_OTHER_ROWS, codes.SCALER_KNOWS_OTHER_ROWS},
    Leak.SCALER_LIES: {codes.SCALER_KNOWS_OTHER_ROWS},
    Leak.SELECTION_ON_TEST: {codes.FITTED_ON_OTHER_ROWS},
    Leak.NO_PURGE: {codes.LABEL_REACHES_NEXT_BLOCK},
    Leak.NO_EMBARGO: {codes.EMBARGO_TOO_SHORT},
    Leak.EPOCH_SEES_TEST: {codes.EPOCH_VISITS_OTHER_ROWS},
    Leak.TESTED_WHILE_STOPPING: {codes.BLOCKS_SHARE_TIMES, codes.LABEL_REACHES_NEXT_BLOCK},
    Leak.SPLIT_BY_SYMBOL: {codes.BLOCKS_SHARE_TIMES, codes.LABEL_REACHES_NEXT_BLOCK},
}
"""Leaks that a score need not show, and all that is found of them."""
VISIBLE = {
    Leak.SHUFFLED_SPLIT: {codes.TWIN_ABOVE_CHANCE, codes.SHUFFLED_LABELS_ABOVE_CHANCE},
    Leak.PRICE_LEVEL: {codes.TWIN_ABOVE_CHANCE, codes.SHUFFLED_LABELS_ABOVE_CHANCE},
    Leak.OVERSAMPLED_FIRST: {codes.BLOCKS_SHARE_TIMES, codes.SHUFFLED_LABELS_ABOVE_CHANCE},
    Leak.NOISY_COPIES: {codes.BLOCKS_SHARE_TIMES, codes.TWIN_ABOVE_CHANCE, codes.SHUFFLED_LABELS_ABOVE_CHANCE},
    Leak.FEATURES_LATE: {codes.FEATURE_SEES_FUTURE, codes.TWIN_ABOVE_CHANCE},
    Leak.CENTRED_SMOOTHING: {codes.FEATURE_SEES_FUTURE, codes.TWIN_ABOVE_CHANCE},
}
"""Leaks that show as skill, and some of what is found of them."""


def _block(prepared: Prepared, rows: Ints) -> Block:
    return Block(
        inputs=prepared.features,
        rows=rows,
        targets=prepared.labels[rows],
        last_labels=last_known_labels(prepared.labels, horizon=prepared.horizon)[rows],
        times=prepared.times[rows],
    )


def _result(prepared: Prepared, *, memorise: bool) -> EvaluationReport:
    """A model trained on the rows of an epoch, judged on the test rows."""
    model = (
        ExtraTreesClassifier(n_estimators=50, random_state=0)
        if memorise
        else HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=6, learning_rate=0.05, random_state=0)
    )
    model.fit(prepared.features[prepared.visited], prepared.labels[prepared.visited])

    def said(rows: Ints) -> Floats:
        result: Floats = np.log(np.maximum(model.predict_proba(prepared.features[rows]), 1e-3))
        return result

    validation = prepared.validation if len(prepared.validation) else prepared.train[-200:]
    return evaluate(
        Judged(
            classes=tuple(f"c{n}" for n in range(prepared.classes)),
            horizon=prepared.horizon,
            seed=0,
            train=_block(prepared, prepared.train),
            test=_block(prepared, prepared.test),
            validation=Predictions(
                log_probabilities=said(validation),
                targets=prepared.labels[validation],
                times=prepared.times[validation],
            ),
            test_log_probabilities=said(prepared.test),
        )
    )


def _as_it_is(labels: Ints) -> Ints:
    return labels


def _trap(leak: Leak) -> tuple[EvaluationReport, AuditReport]:
    """Result and audit of a broken pipeline, on bars whose directions nobody can know."""
    steps = BrokenSteps(
        leak=leak,
        # A glimpse of the next bar tells all of it, and little of the next six.
        horizon=1 if leak in (Leak.FEATURES_LATE, Leak.CENTRED_SMOOTHING) else 6,
        dead_zone=1.5 if leak is Leak.OVERSAMPLED_FIRST else 0.0,
    )
    pipeline = steps.pipeline(noise_bars(BARS, seed=0, instruments=2 if leak is Leak.SPLIT_BY_SYMBOL else 1))
    report = _result(pipeline.prepare(relabel=_as_it_is), memorise=True)
    audit = audit_pipeline(pipeline, seed=0, names=steps.names)
    return report, audit.with_findings(judge_result(report, twins_passed=not audit.refused))


@pytest.mark.parametrize("leak", list(INVISIBLE), ids=lambda leak: leak.name)
def test_what_no_score_shows_is_found_by_the_code(leak: Leak) -> None:
    report, audit = _trap(leak)
    about_the_result = {codes.NO_SKILL_SHOWN, codes.NOT_CALIBRATED, codes.LIFT_TOO_GOOD}

    assert {each.code for each in audit.findings} - about_the_result == INVISIBLE[leak]
    assert audit.refused or leak is Leak.NO_EMBARGO
    assert not shows_skill(report, audit)


@pytest.mark.parametrize("leak", list(VISIBLE), ids=lambda leak: leak.name)
def test_what_looks_like_skill_is_refused(leak: Leak) -> None:
    report, audit = _trap(leak)

    assert report.intervals["prior_lift"].low > 0, "the trap works: a memorising model has its skill from nothing"
    assert {each.code for each in audit.findings} >= VISIBLE[leak]
    assert audit.refused
    assert not shows_skill(report, audit)


def test_every_leak_has_its_findings_listed() -> None:
    assert set(INVISIBLE) | set(VISIBLE) == set(Leak)


@pytest.mark.parametrize("leak", [Leak.OVERSAMPLED_FIRST, None], ids=["oversampled first", "never"])
def test_a_majority_of_90_percent_is_never_skill_whether_98_or_89_percent_are_reached(leak: Leak | None) -> None:
    """training_health 3.2: both pass "accuracy above 0.80", with no signal at all."""
    pipeline = Imbalanced(rows=BARS, leak=leak).pipeline()
    report = _result(pipeline.prepare(relabel=_as_it_is), memorise=True)
    audit = audit_pipeline(pipeline, seed=0).with_findings(judge_result(report))

    assert report.metrics["test_accuracy"] > 0.85
    assert not shows_skill(report, audit)
    assert audit.refused == (leak is not None)
    assert audit.refused or codes.NO_SKILL_SHOWN in {each.code for each in audit.findings}


def test_a_result_that_is_better_than_the_truth_is_refused_even_where_the_pipeline_looks_sound() -> None:
    """The leak lies in the table: one column is the label. Only the lift can tell."""
    pipeline = Imbalanced(rows=BARS, share=0.5).pipeline()
    pipeline.dataset.values[:, 3] = pipeline.dataset.labels
    report = _result(pipeline.prepare(relabel=_as_it_is), memorise=True)
    audit = audit_pipeline(pipeline, seed=0)

    assert not audit.refused
    judged = audit.with_findings(judge_result(report, twins_passed=True))
    assert [each.code for each in judged.findings] == [codes.LIFT_TOO_GOOD]
    assert not shows_skill(report, judged)


def test_honest_skill_on_bars_that_can_be_known_is_reported_as_skill() -> None:
    pipeline = BrokenSteps(horizon=1).pipeline(noise_bars(6_000, seed=1, reversal=0.2))
    report = _result(pipeline.prepare(relabel=_as_it_is), memorise=False)
    audit = audit_pipeline(pipeline, seed=0).with_findings(judge_result(report))

    assert audit.findings == ()
    assert shows_skill(report, audit)
