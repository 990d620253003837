import sys

import pytest

from tests.support.leaks import BrokenSteps, Imbalanced, Leak, noise_bars
from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.findings import AuditFinding, AuditReport, Severity
from trainmaster_trainer.audit.market import select_bars
from trainmaster_trainer.audit.run import audit_pipeline

BARS = 1_500


@pytest.mark.parametrize("instruments", [1, 3])
def test_the_products_own_steps_pass(instruments: int) -> None:
    bars = noise_bars(BARS // instruments, seed=0, instruments=instruments)

    audit = audit_pipeline(BrokenSteps().pipeline(bars), seed=0)

    assert audit.findings == ()
    assert set(audit.measured) == {"audit_coin_flip_accuracy", "audit_shuffled_accuracy"}
    assert audit.metrics["audit_refusals"] == audit.metrics["audit_flags"] == 0.0


def test_a_table_has_no_coin_flip_twin_and_passes() -> None:
    audit = audit_pipeline(Imbalanced(rows=BARS).pipeline(), seed=0)

    assert audit.findings == ()
    assert set(audit.measured) == {"audit_shuffled_accuracy"}


def test_the_same_seed_finds_the_same() -> None:
    pipeline = BrokenSteps(leak=Leak.SHUFFLED_SPLIT).pipeline(noise_bars(BARS, seed=0))

    assert audit_pipeline(pipeline, seed=3) == audit_pipeline(pipeline, seed=3)


def test_only_the_newest_rows_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster_trainer.audit.market.AUDIT_ROWS", 900)
    bars = noise_bars(600, seed=0, instruments=2)

    prepared = BrokenSteps().pipeline(bars).prepare(relabel=lambda labels: labels)

    assert len(prepared.times) == 900
    assert prepared.times.min() == bars.time[150]


def test_selected_bars_keep_their_instruments() -> None:
    bars = noise_bars(10, seed=0, instruments=2)

    late = select_bars(bars, bars.time >= bars.time[7])

    assert (late.instruments, late.starts, len(late)) == (("i0", "i1"), (0, 3), 6)
    assert late.close.tolist() == [*bars.close[7:10], *bars.close[17:20]]


def test_without_scikit_learn_the_rest_is_looked_at_and_the_audit_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)

    audit = audit_pipeline(BrokenSteps(leak=Leak.NO_PURGE).pipeline(noise_bars(BARS, seed=0)), seed=0)

    assert {each.code for each in audit.findings} == {codes.LABEL_REACHES_NEXT_BLOCK, codes.AUDIT_INCOMPLETE}
    assert "install scikit-learn" in audit.findings[-1].message
    assert audit.refused


def test_too_few_rows_for_the_split_are_a_note() -> None:
    audit = audit_pipeline(BrokenSteps().pipeline(noise_bars(150, seed=0)), seed=0)

    assert [(each.code, each.severity) for each in audit.findings] == [(codes.AUDIT_INCOMPLETE, Severity.NOTE)]
    assert not audit.refused


def test_an_audit_survives_json_and_grows() -> None:
    finding = AuditFinding(code=codes.ABOVE_CEILING, severity=Severity.REFUSE, message="too good")
    audit = AuditReport(measured={"audit_shuffled_accuracy": 0.5}).with_findings([finding])

    assert AuditReport.from_json(audit.to_json()) == audit
    assert audit.refused
    assert audit.metrics == {"audit_refusals": 1.0, "audit_flags": 0.0, "audit_shuffled_accuracy": 0.5}
