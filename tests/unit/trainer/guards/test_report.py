"""Health by its formula, and words that a person can act on."""

import pytest

from trainmaster_trainer.guards.report import NOTHING_SEEN, Readings, events_between


@pytest.mark.parametrize(
    ("readings", "health"),
    [
        (Readings(), 1.0),
        (Readings(skipped_share=0.1), 0.8),
        (Readings(skipped_share=0.5), 0.0),
        (Readings(emergency_share=0.1), 0.6),
        (Readings(clipped_share=1.0), 0.75),
        (Readings(skipped_share=0.1, emergency_share=0.1, clipped_share=0.4), 0.3),
        (Readings(skipped_share=1.0, emergency_share=1.0), 0.0),
        (Readings(parameters_finite=0.0), 0.0),
    ],
)
def test_health_follows_its_formula(readings: Readings, health: float) -> None:
    assert readings.health == pytest.approx(health)
    assert readings.metrics()["smart_tuner.system_health"] == pytest.approx(health)


@pytest.mark.parametrize(
    ("readings", "emergency"),
    [
        (Readings(), False),
        (Readings(skips_in_a_row=2), False),
        (Readings(skips_in_a_row=3), True),
        (Readings(halvings=-0.5), True),
        (Readings(lr_cool_down=1), True),
        (Readings(parameters_finite=0), True),
        (Readings(skipped=9, emergency_clips=4, lr_rescues=3, lr_multiplier=0.5), False),
    ],
)
def test_an_emergency_is_what_goes_on_now_and_not_what_is_over(readings: Readings, *, emergency: bool) -> None:
    assert readings.emergency is emergency
    assert readings.metrics()["smart_tuner.emergency_mode"] == float(emergency)


def test_a_training_that_is_well_needs_no_advice() -> None:
    assert Readings(clipped_share=0.1, skipped_share=0.01).recommendations(max_lr_rescues=3, off=()) == ()


@pytest.mark.parametrize(
    ("readings", "words"),
    [
        (Readings(parameters_finite=0), "go back to a healthy checkpoint"),
        (Readings(skips_in_a_row=4), "4 steps in a row were lost"),
        (Readings(skipped_share=0.12), "12% of recent steps were lost"),
        (Readings(lr_rescues=3), "all 3 rescues of the learning rate are spent"),
        (Readings(clipped_share=0.6), "60% of recent steps were clipped"),
        (Readings(quarantined=7), "7 rows gave no finite loss"),
    ],
)
def test_each_trouble_has_its_advice(readings: Readings, words: str) -> None:
    (advice,) = readings.recommendations(max_lr_rescues=3, off=())

    assert words in advice


def test_a_guard_that_is_off_is_named() -> None:
    assert Readings().recommendations(max_lr_rescues=0, off=("lr_adapter",)) == (
        "the guard lr_adapter is off after an error: see the log, and report it",
    )


def test_events_tell_what_happened_between_two_readings() -> None:
    before = Readings(emergency_clips=1, lr_changes=1, lr_rescues=1, quarantined=2)
    now = Readings(emergency_clips=3, lr_changes=3, lr_rescues=2, lr_multiplier=0.05, quarantined=3)

    events = events_between(before, now)

    assert [(each.guard, each.reason) for each in events] == [
        ("gradient_clipper", "EmergencyClip"),
        ("lr_adapter", "LearningRateChanged"),
        ("quarantine", "RowsQuarantined"),
    ]
    assert events[0].message.startswith("2 gradients")
    assert "2 times, 1 of them rescues: it is now the scheduled one x 0.05" in events[1].message
    assert events[2].message.startswith("1 more rows")


def test_nothing_between_two_equal_readings() -> None:
    assert events_between(NOTHING_SEEN, NOTHING_SEEN) == ()
