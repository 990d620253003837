"""What `spec.parameterSchedules` must look like beyond its form: judged offline, every problem with its field.

One owner for each knob: entries of one hyperparameter must not overlap, the learning rate has entries or an
`lr_scheduler`, and what a switch turns off cannot be moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from trainmaster.api.hyperparameters import CATALOGUE, SCHEDULABLE, Scalar
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster.api.problems import WARNING, Problem
from trainmaster.api.wording import explain, fold, nearest

NOT_FOR_WORKLOAD: Final = "workload {workload} moves no hyperparameters: its program reads no schedules"
UNKNOWN_PARAMETER: Final = "unknown hyperparameter"
NOT_SCHEDULABLE: Final = "cannot change while training"
OWNED_BY_SCHEDULER: Final = "has two owners: this entry, and hyperparameters.lr_scheduler, which is {scheduler}"
SWITCHED_OFF: Final = "has no effect: hyperparameters.{switch} is false"
OVERLAPS: Final = "overlaps parameterSchedules[{other}], which moves {parameter} from {start} to {end}"
TWO_UNITS: Final = "counts in {unit}, parameterSchedules[{other}] of the same hyperparameter in {other_unit}"

_SWITCHES: Final[Mapping[str, str]] = {"gaussian_noise_std": "use_augmentation", "focal_gamma": "use_focal_loss"}
"""Hyperparameters that do nothing while another one is false."""

_NEEDS: Final[Mapping[str, frozenset[str]]] = {
    "linear": frozenset({"to"}),
    "exponential": frozenset({"to"}),
    "cosine": frozenset(),
    "step": frozenset({"every", "multiply"}),
    "plateau": frozenset({"patience", "multiply"}),
    "warmup": frozenset(),
    "warmup-cosine": frozenset({"warmup"}),
}
"""By strategy: fields that it cannot do without."""
_OWN: Final[Mapping[str, frozenset[str]]] = {
    "every": frozenset({"step", "cosine"}),
    "growth": frozenset({"cosine"}),
    "multiply": frozenset({"step", "plateau"}),
    "patience": frozenset({"plateau"}),
    "warmup": frozenset({"warmup-cosine"}),
}
"""By field: the strategies that know it; the others are for all."""

_BEGIN_AT_0: Final = frozenset({"warmup", "warmup-cosine"})
"""Strategies that begin at 0 without `from`."""
_END_AT_0: Final = frozenset({"cosine", "warmup-cosine"})
"""Strategies that end at 0 without `to`."""


def schedule_problems(
    workload: str, *, schedules: Sequence[ParameterSchedule], hyperparameters: Mapping[str, Scalar]
) -> Iterator[Problem]:
    """Every problem of the entries; `hyperparameters` are all of the workload's, as they would be trained with."""
    if not schedules:
        return
    if not SCHEDULABLE[workload]:
        message = NOT_FOR_WORKLOAD.format(workload=workload)
        yield Problem(path="spec.parameterSchedules", message=message, hint="remove it")
        return
    for index, schedule in enumerate(schedules):
        path = f"spec.parameterSchedules[{index}]"
        yield from _parameter_problems(workload, path=path, schedule=schedule, hyperparameters=hyperparameters)
        yield from _field_problems(path, schedule)
        yield from _range_problems(path, schedule, epochs=hyperparameters.get("epochs"))
        if schedule.parameter in SCHEDULABLE[workload]:
            yield from _value_problems(workload, path=path, schedule=schedule, hyperparameters=hyperparameters)
    yield from _overlap_problems(schedules)


def _parameter_problems(
    workload: str, *, path: str, schedule: ParameterSchedule, hyperparameters: Mapping[str, Scalar]
) -> Iterator[Problem]:
    name, movable = schedule.parameter, SCHEDULABLE[workload]
    path = f"{path}.parameter"
    if name not in CATALOGUE[workload].model_fields:
        near = nearest(name, movable)
        hint = f'did you mean "{near}"?' if near else f"these can move: {', '.join(movable)}"
        yield Problem(path=path, value=name, message=UNKNOWN_PARAMETER, hint=hint)
    elif name not in movable:
        yield Problem(path=path, value=name, message=NOT_SCHEDULABLE, hint=f"these can: {', '.join(movable)}")
    switch = _SWITCHES.get(name)
    if switch is not None and hyperparameters.get(switch) is False:
        message = SWITCHED_OFF.format(switch=switch)
        yield Problem(path=path, value=name, message=message, hint=f"set it to true, or remove the entry of {name}")
    scheduler = hyperparameters.get("lr_scheduler")
    if name == "learning_rate" and scheduler not in (None, "constant"):
        yield Problem(
            path=path,
            value=name,
            message=OWNED_BY_SCHEDULER.format(scheduler=scheduler),
            hint="set hyperparameters.lr_scheduler: constant to keep this entry, or remove it",
        )


def _field_problems(path: str, schedule: ParameterSchedule) -> Iterator[Problem]:
    """Fields that the strategy needs and lacks, or has and does not know."""
    given = schedule.to_wire()
    for field in sorted(_NEEDS[schedule.strategy] - given.keys()):
        yield Problem(path=f"{path}.{field}", message=f"is required by strategy {schedule.strategy}")
    for field, strategies in _OWN.items():
        if field in given and schedule.strategy not in strategies:
            words = " and ".join(sorted(strategies))
            yield Problem(path=f"{path}.{field}", value=given[field], message=f"is for strategy {words} only")
    if schedule.growth is not None and schedule.strategy == "cosine" and schedule.every is None:
        message = "needs every: without cycles nothing grows"
        yield Problem(path=f"{path}.growth", value=schedule.growth, message=message)


def _range_problems(path: str, schedule: ParameterSchedule, *, epochs: Scalar | None) -> Iterator[Problem]:
    start, end = schedule.start, schedule.end
    if end is not None and end <= start:
        yield Problem(path=f"{path}.end", value=end, message=f"must be greater than start, {start}")
    length = None if end is None else end - start
    if schedule.unit == "epochs" and isinstance(epochs, int):
        length = length or epochs - start
        if start >= epochs:
            message = f"lies after the training, which has {epochs} epochs: it would never begin"
            yield Problem(path=f"{path}.start", value=start, message=message)
        if end is not None and end > epochs > start:
            message = f"lies after the training, which has {epochs} epochs: it is cut short"
            yield Problem(path=f"{path}.end", value=end, message=message, severity=WARNING)
    if schedule.warmup is not None and length is not None and 0 < length <= schedule.warmup:
        message = f"must be less than the entry's {length} {schedule.unit}"
        yield Problem(path=f"{path}.warmup", value=schedule.warmup, message=message)


def _value_problems(
    workload: str, *, path: str, schedule: ParameterSchedule, hyperparameters: Mapping[str, Scalar]
) -> Iterator[Problem]:
    """Values that the hyperparameter itself could not have."""
    name, strategy = schedule.parameter, schedule.strategy
    begins_at_0, ends_at_0 = strategy in _BEGIN_AT_0, strategy in _END_AT_0
    for field, text, is_0 in (("from", schedule.from_, begins_at_0), ("to", schedule.to, ends_at_0)):
        if text is not None and float(text) == 0.0 and strategy == "exponential":
            message = "must be greater than 0: equal ratios never reach it"
            yield Problem(path=f"{path}.{field}", value=text, message=message, hint="take linear or cosine")
            continue
        wrong = _misfit(workload, name=name, text="0" if text is None and is_0 else text)
        if wrong is not None and text is None:
            yield Problem(path=f"{path}.{field}", message=f"is required: without it {name} would be 0")
        elif wrong is not None:
            yield Problem(path=f"{path}.{field}", value=text, message=wrong[0], hint=wrong[1])
    if strategy == "exponential" and schedule.from_ is None and not hyperparameters.get(name):
        message = f"is required by strategy exponential where hyperparameters.{name} is 0"
        yield Problem(path=f"{path}.from", message=message)
    if schedule.multiply is not None and float(schedule.multiply) == 0.0:
        yield Problem(path=f"{path}.multiply", value=schedule.multiply, message="must be greater than 0")


def _misfit(workload: str, *, name: str, text: str | None) -> tuple[str, str] | None:
    """Message and hint where a hyperparameter cannot have a value; a learning rate of 0 is where schedules end."""
    if text is None or (name == "learning_rate" and float(text) == 0.0):
        return None
    try:
        CATALOGUE[workload].model_validate({name: text})
    except ValidationError as error:
        return explain(error.errors(include_url=False)[0])
    return None


def _overlap_problems(schedules: Sequence[ParameterSchedule]) -> Iterator[Problem]:
    for index, one in enumerate(schedules):
        for other, before in enumerate(schedules[:index]):
            if fold(one.parameter) != fold(before.parameter):
                continue
            path = f"spec.parameterSchedules[{index}]"
            if one.unit != before.unit:
                message = TWO_UNITS.format(unit=one.unit, other=other, other_unit=before.unit)
                yield Problem(path=f"{path}.unit", value=one.unit, message=message, hint="take one unit for both")
            elif _overlap(one, before):
                end = "the end" if before.end is None else before.end
                message = OVERLAPS.format(other=other, parameter=one.parameter, start=before.start, end=end)
                hint = "one entry must end before the next begins"
                yield Problem(path=f"{path}.start", value=one.start, message=message, hint=hint)


def _overlap(one: ParameterSchedule, other: ParameterSchedule) -> bool:
    return (other.end is None or one.start < other.end) and (one.end is None or other.start < one.end)
