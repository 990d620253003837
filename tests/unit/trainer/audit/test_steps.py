from dataclasses import replace

import numpy as np
import pytest

from tests.support.leaks import noise_bars
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.synthetic import HmmSource
from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.steps import audit_market, market_pipeline
from trainmaster_trainer.market.bars import Bars
from trainmaster_trainer.market.data import MarketData
from trainmaster_trainer.market.dataset import Dataset, usable_rows
from trainmaster_trainer.market.inputs import dataset_of_bars
from trainmaster_trainer.market.scaler import Scaler
from trainmaster_trainer.market.split import Split
from trainmaster_trainer.synthetic.hmm import make_hmm

BARS = 1_500


def _hyperparameters(**values: object) -> MarketClassifierHyperparameters:
    return MarketClassifierHyperparameters.model_validate(values)


def _dataset(bars: Bars, h: MarketClassifierHyperparameters) -> Dataset:
    return dataset_of_bars(bars, fingerprint="", horizon=h.horizon, dead_zone=h.dead_zone)


@pytest.mark.parametrize("instruments", [1, 2])
def test_the_market_training_passes_its_audit_with_its_defaults(instruments: int) -> None:
    """Three classes, oversampling on, an embargo of 24 rows of each instrument."""
    h = _hyperparameters()
    bars = noise_bars(BARS // instruments, seed=0, instruments=instruments)
    dataset = _dataset(bars, h)
    before = dataset.values.copy()

    pipeline = market_pipeline(dataset, h, bars=bars)
    np.testing.assert_array_equal(dataset.values, before, err_msg="the audit scales copies")
    audit = audit_market(pipeline, MarketData.prepare(dataset, h), h)

    assert audit.findings == ()
    assert set(audit.measured) == {"audit_coin_flip_accuracy", "audit_shuffled_accuracy"}


def test_the_hidden_markov_chain_passes_too() -> None:
    h = _hyperparameters(window=16)
    dataset = make_hmm(HmmSource(rows=3_000, separation=2.0))

    pipeline = market_pipeline(dataset, h, bars=None)
    audit = audit_market(pipeline, MarketData.prepare(dataset, h), h)

    assert audit.findings == ()
    assert set(audit.measured) == {"audit_shuffled_accuracy"}


def _scaled_by_all(dataset: Dataset, h: MarketClassifierHyperparameters) -> MarketData:
    """The market's own preparation with a scaler that saw all rows."""
    unscaled = dataset.values.copy()
    data = MarketData.prepare(dataset, h)
    foreign = Scaler.fit(unscaled, rows=usable_rows(dataset, window=h.window))
    return replace(data, scaler=foreign)


def test_a_training_that_scales_by_all_rows_is_refused() -> None:
    h = _hyperparameters()
    bars = noise_bars(BARS, seed=0)
    dataset = _dataset(bars, h)

    pipeline = market_pipeline(dataset, h, bars=bars, prepare=_scaled_by_all)
    audit = audit_market(pipeline, MarketData.prepare(dataset, h), h)

    assert [each.code for each in audit.findings] == [codes.SCALER_KNOWS_OTHER_ROWS]


def test_the_rows_that_are_really_trained_on_are_looked_at() -> None:
    """The pipeline is sound, but this training was given a split without a purge."""
    h = _hyperparameters(horizon=6, dead_zone=0)
    bars = noise_bars(BARS, seed=0)
    dataset = _dataset(bars, h)
    rows = usable_rows(dataset, window=h.window)
    touching = Split(train=rows[:900], validation=rows[900:1000], test=rows[1000:])

    pipeline = market_pipeline(dataset, h, bars=bars)
    audit = audit_market(pipeline, MarketData.prepare(dataset, h, split=touching), h)

    assert {each.code for each in audit.findings} == {codes.LABEL_REACHES_NEXT_BLOCK}
    assert audit.refused
