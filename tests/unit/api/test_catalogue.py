"""The catalogue as data: limits in words, and the range of every knob that can move."""

from __future__ import annotations

import math

from trainmaster.api.catalogue import hyperparameters_of, knob_limits, limit_words
from trainmaster.api.hyperparameters import SCHEDULABLE, effective

MARKET = "market-classifier"


def test_limits_are_told_as_people_say_them() -> None:
    words = {each.name: each.range for each in hyperparameters_of(MARKET)}

    assert words["batch_size"] == "at least 1, at most 65,536"
    assert words["dropout"] == "at least 0, less than 1"
    assert words["max_grad_norm"] == "greater than 0, at most 1e+09"
    assert words["use_focal_loss"] == "true or false"
    assert words["device"] == "auto or cpu or cuda"
    assert limit_words({"maxItems": 3}) == "at most 3 entries"


def test_every_knob_that_can_move_has_limits_that_its_default_keeps() -> None:
    limits, defaults = knob_limits(MARKET), effective(MARKET, {})

    assert limits.keys() == set(SCHEDULABLE[MARKET])
    assert all(low <= float(defaults[name]) <= high for name, (low, high) in limits.items())


def test_a_knob_stays_off_a_bound_that_is_not_its_own_but_may_fall_to_0() -> None:
    limits = knob_limits(MARKET)

    assert limits["dropout"] == (0.0, math.nextafter(1.0, 0.0))
    assert limits["learning_rate"] == (0.0, 10.0)


def test_foreign_code_has_no_knobs() -> None:
    assert knob_limits("custom") == {}
