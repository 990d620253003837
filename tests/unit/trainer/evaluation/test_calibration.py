import numpy as np
import pytest

from trainmaster_trainer.evaluation.calibration import (
    HOTTEST,
    Calibration,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    prior_shift,
    reliability,
)
from trainmaster_trainer.evaluation.predictions import Floats, Ints, Predictions, normalise

ROWS = 20_000


def _drawn(logits: Floats, *, seed: int = 0) -> Ints:
    """Classes drawn from the probabilities of some logits."""
    rng = np.random.default_rng(seed)
    cumulative = np.exp(normalise(logits)).cumsum(axis=1)
    drawn: Ints = (rng.random((len(logits), 1)) > cumulative).sum(axis=1)
    last: Ints = np.minimum(drawn, logits.shape[1] - 1)
    return last


def _logits(*, seed: int = 1, classes: int = 3) -> Floats:
    return np.random.default_rng(seed).normal(size=(ROWS, classes))


@pytest.mark.parametrize("overconfident", [0.5, 1.0, 3.0])
def test_the_temperature_is_what_the_logits_were_multiplied_with(overconfident: float) -> None:
    logits = _logits()

    assert fit_temperature(normalise(overconfident * logits), _drawn(logits)) == pytest.approx(overconfident, rel=0.05)


def test_no_temperature_has_a_lower_log_loss() -> None:
    said, came = normalise(2.5 * _logits()), _drawn(_logits())
    fitted = fit_temperature(said, came)

    def log_loss(temperature: float) -> float:
        return -float(normalise(said / temperature)[np.arange(ROWS), came].mean())

    assert log_loss(fitted) < min(log_loss(fitted * 0.99), log_loss(fitted * 1.01))


def test_a_model_that_says_the_same_of_every_class_keeps_temperature_one() -> None:
    assert fit_temperature(normalise(np.zeros((10, 3))), np.arange(10) % 3) == 1.0


def test_a_model_that_is_wrong_throughout_gets_the_hottest_temperature() -> None:
    said = normalise(np.tile([5.0, 0.0], (10, 1)))

    assert fit_temperature(said, np.ones(10, dtype=np.int64)) == pytest.approx(HOTTEST)


def test_the_prior_that_oversampling_bent_is_put_right() -> None:
    """Bayes' rule: a posterior under the trained prior, times true / trained, is the posterior under the true one."""
    likelihood = np.exp(_logits(classes=2))
    true, trained = np.array([0.9, 0.1]), np.array([0.5, 0.5])

    calibration = Calibration(temperature=1.0, shift=prior_shift(true, trained))

    np.testing.assert_allclose(
        calibration.apply(normalise(np.log(likelihood * trained))), normalise(np.log(likelihood * true))
    )


def test_equal_priors_shift_nothing_and_a_class_that_was_never_seen_is_left_alone() -> None:
    prior = np.array([0.3, 0.7, 0.0])

    assert prior_shift(prior, prior) == (0.0, 0.0, 0.0)
    assert prior_shift(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.0, 0.75])) == pytest.approx((np.log(2), 0.0, 0.0))


def test_the_temperature_is_fitted_after_the_shift() -> None:
    logits = _logits(classes=2)
    shift = prior_shift(np.array([0.9, 0.1]), np.array([0.5, 0.5]))
    came = _drawn(logits + np.array(shift))

    calibration = calibrate(normalise(logits), came, shift=shift)

    assert calibration.temperature == pytest.approx(1.0, rel=0.1)
    assert calibration.shift == shift


def test_calibration_error_by_hand() -> None:
    """Four rows say 0.95 and three are right, two say 0.55 and none is: (4 * 0.2 + 2 * 0.55) / 6."""
    said = np.log([[0.05, 0.95]] * 4 + [[0.45, 0.55]] * 2)
    bins = reliability(Predictions(log_probabilities=said, targets=np.array([1, 1, 1, 0, 0, 0]), times=np.arange(6)))

    assert expected_calibration_error(bins) == pytest.approx((4 * 0.2 + 2 * 0.55) / 6)
    assert sum(each.rows for each in bins) == 6


def test_a_model_that_means_what_it_says_has_nearly_no_error_and_an_overconfident_one_has() -> None:
    logits = _logits()
    came = _drawn(logits)
    honest, loud = (
        expected_calibration_error(
            reliability(Predictions(log_probabilities=normalise(f * logits), targets=came, times=np.arange(ROWS)))
        )
        for f in (1.0, 4.0)
    )

    assert honest < 0.02
    assert loud > 0.15
