"""One entry of parameterSchedules: equal to torch's schedulers, within its bounds, monotone where it says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as reference

from trainmaster.api.parameter_schedules import ParameterSchedule, Strategy
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.parameters import Segment

STATELESS: tuple[Strategy, ...] = ("linear", "exponential", "cosine", "step", "warmup", "warmup-cosine")

numbers = st.floats(1e-9, 10.0)


def torch_rates(
    make: Callable[[torch.optim.Optimizer], reference.LRScheduler], *, base: float, steps: int
) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


def rates(segment: Segment, *, base: float, steps: int) -> list[float]:
    return [segment.value(step, before=base, own=base) for step in range(steps)]


def warmup_then_cosine(optimizer: torch.optim.Optimizer) -> reference.LRScheduler:
    parts: Sequence[reference.LRScheduler] = (
        reference.LinearLR(optimizer, start_factor=1e-12, total_iters=10),
        reference.CosineAnnealingLR(optimizer, T_max=30),
    )
    return reference.SequentialLR(optimizer, list(parts), milestones=[10])


@pytest.mark.parametrize(
    ("segment", "make"),
    [
        (
            Segment(strategy="linear", start=0, end=40, to=0.05),
            lambda o: reference.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=40),
        ),
        (
            Segment(strategy="warmup", start=0, end=40, from_=0.05),
            lambda o: reference.LinearLR(o, start_factor=0.1, total_iters=40),
        ),
        (
            Segment(strategy="exponential", start=0, end=50, to=0.5 * 0.9**50),
            lambda o: reference.ExponentialLR(o, gamma=0.9),
        ),
        (
            Segment(strategy="cosine", start=0, end=50, to=0.01),
            lambda o: reference.CosineAnnealingLR(o, T_max=50, eta_min=0.01),
        ),
        (
            Segment(strategy="cosine", start=0, end=75, to=0.0, every=5, growth=2),
            lambda o: reference.CosineAnnealingWarmRestarts(o, T_0=5, T_mult=2),
        ),
        (
            Segment(strategy="cosine", start=0, end=75, to=0.01, every=7, growth=1),
            lambda o: reference.CosineAnnealingWarmRestarts(o, T_0=7, eta_min=0.01),
        ),
        (
            Segment(strategy="step", start=0, end=60, every=7, multiply=0.3),
            lambda o: reference.StepLR(o, step_size=7, gamma=0.3),
        ),
        (Segment(strategy="warmup-cosine", start=0, end=40, warmup=10), warmup_then_cosine),
    ],
    ids=["linear", "warmup", "exponential", "cosine", "restarts", "equal restarts", "step", "warmup-cosine"],
)
def test_it_equals_the_scheduler_of_torch(
    segment: Segment, make: Callable[[torch.optim.Optimizer], reference.LRScheduler]
) -> None:
    steps = segment.end

    assert rates(segment, base=0.5, steps=steps) == pytest.approx(torch_rates(make, base=0.5, steps=steps), abs=1e-9)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    start, length = draw(st.integers(0, 50)), draw(st.integers(1, 200))
    return Segment(
        strategy=draw(st.sampled_from(STATELESS)),
        start=start,
        end=start + length,
        from_=draw(st.one_of(st.none(), numbers)),
        to=draw(st.one_of(st.none(), numbers)),
        every=draw(st.integers(1, 60)),
        growth=draw(st.integers(1, 3)),
        multiply=draw(st.floats(0.01, 1.0)),
        warmup=draw(st.integers(0, length)),
    )


@given(segment=segments(), own=numbers)
def test_values_stay_between_what_the_user_named(segment: Segment, own: float) -> None:
    named = [segment.to or 0.0, own, segment.from_ or own]
    warms_up = segment.strategy in ("warmup", "warmup-cosine") and segment.from_ is None
    low = 0.0 if warms_up else min(named)

    for step in range(segment.start, segment.end + 5):
        assert low <= segment.value(step, before=own, own=own) <= max(named)


@given(
    strategy=st.sampled_from(["linear", "exponential", "cosine", "warmup"]),
    length=st.integers(1, 300),
    begin=numbers,
    end=numbers,
)
def test_what_goes_from_one_value_to_another_never_turns_and_arrives(
    strategy: Strategy, length: int, begin: float, end: float
) -> None:
    segment = Segment(strategy=strategy, start=3, end=3 + length, from_=begin, to=end)

    values = [segment.value(step, before=7.0, own=7.0) for step in range(3, 3 + length + 2)]

    sign = 1.0 if end >= begin else -1.0
    tiny = 1e-12 * max(begin, end)
    assert all(sign * (later - earlier) >= -tiny for earlier, later in pairwise(values))
    assert values[0] == pytest.approx(begin)
    assert values[-2:] == pytest.approx([end, end])


@given(length=st.integers(2, 300), begin=numbers, end=numbers, strategy=st.sampled_from(["linear", "cosine", "warmup"]))
def test_straight_lines_and_half_waves_make_no_jump(length: int, begin: float, end: float, strategy: Strategy) -> None:
    segment = Segment(strategy=strategy, start=0, end=length, from_=begin, to=end)
    steepest = abs(begin - end) * (1.5708 if strategy == "cosine" else 1.0) / length

    values = [segment.value(step, before=0.0, own=0.0) for step in range(length + 1)]

    assert all(abs(later - earlier) <= steepest + 1e-12 for earlier, later in pairwise(values))


@given(step=st.integers(0, 10**9), every=st.integers(1, 1_000), growth=st.integers(1, 5))
def test_cycles_are_found_at_any_step(step: int, every: int, growth: int) -> None:
    segment = Segment(strategy="cosine", start=0, end=2 * 10**9, to=0.0, every=every, growth=growth)

    assert 0.0 <= segment.value(step, before=1.0, own=1.0) <= 1.0


def test_every_cycle_starts_at_the_full_value_and_says_so() -> None:
    segment = Segment(strategy="cosine", start=0, end=1_050, to=0.0, every=70, growth=2)

    restarts = [70, 210, 490]
    assert [segment.value(step, before=1.0, own=1.0) for step in (0, *restarts)] == [1.0] * 4
    assert [step for step in range(1, 1_051) if segment.begins_cycle(step)] == restarts
    assert [step for step in range(1, 1_051) if not segment.within_cycle(step)] == [*restarts, 1_050]


def test_what_is_left_after_the_last_cycle_is_its_end() -> None:
    segment = Segment(strategy="cosine", start=0, end=30, to=0.1, every=10)

    assert segment.value(29, before=1.0, own=1.0) > 0.1
    assert [segment.value(step, before=1.0, own=1.0) for step in (30, 31, 500)] == [0.1] * 3


def test_a_cycle_that_is_cut_short_leaves_the_value_that_it_had_reached() -> None:
    segment = Segment(strategy="cosine", start=0, end=15, to=0.0, every=10)

    assert segment.value(15, before=1.0, own=1.0) == segment.value(99, before=1.0, own=1.0) == pytest.approx(0.5)


def test_drops_stop_at_the_value_that_they_must_not_pass() -> None:
    down = Segment(strategy="step", start=0, end=100, every=10, multiply=0.5, to=0.2)
    up = Segment(strategy="step", start=0, end=100_000, every=10, multiply=2.0, to=3.0)

    assert [down.value(step, before=1.0, own=1.0) for step in (0, 9, 10, 20, 30, 99)] == [1, 1, 0.5, 0.25, 0.2, 0.2]
    assert [up.value(step, before=1.0, own=1.0) for step in (0, 10, 20, 99_999)] == [1.0, pytest.approx(2.0), 3.0, 3.0]


def test_no_drop_falls_on_the_end() -> None:
    segment = Segment(strategy="step", start=0, end=20, every=10, multiply=0.5)

    assert segment.value(20, before=1.0, own=1.0) == 0.5


def test_a_plateau_is_as_deep_as_it_was_cut() -> None:
    segment = Segment(strategy="plateau", start=0, end=100, multiply=0.5, to=0.1)

    assert [segment.value(5, before=1.0, own=1.0, cuts=cuts) for cuts in (0, 1, 3, 4, 50)] == [1, 0.5, 0.125, 0.1, 0.1]


def test_epochs_become_steps() -> None:
    schedule = ParameterSchedule(
        parameter="dropout", strategy="cosine", from_="0.4", to=".1", start=2, end=8, every=3, growth=2
    )

    assert Segment.of(schedule, steps_per_epoch=10, total_steps=100) == Segment(
        strategy="cosine", start=20, end=80, from_=0.4, to=0.1, every=30, growth=2
    )


def test_without_an_end_it_lasts_to_the_end_of_the_training() -> None:
    schedule = ParameterSchedule(parameter="dropout", strategy="linear", to="0.1", unit="steps", start=7)

    assert (Segment.of(schedule, steps_per_epoch=10, total_steps=95).start) == 7
    assert (Segment.of(schedule, steps_per_epoch=10, total_steps=95).end) == 95


def test_one_that_begins_after_the_training_is_refused() -> None:
    schedule = ParameterSchedule(parameter="dropout", strategy="linear", to="0.1", unit="steps", start=95)

    with pytest.raises(
        ConfigurationError, match="linear of dropout begins at step 95, but the training ends at step 95"
    ):
        Segment.of(schedule, steps_per_epoch=10, total_steps=95)
