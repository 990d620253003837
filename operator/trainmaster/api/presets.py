"""`spec.presets`: hyperparameters by the name of a purpose.

A preset is a set of hyperparameters that fit together, each with its reason, and what training with them costs. A run
may name one for the model and one for the trainer; what `spec.hyperparameters` says stands over both, and what none of
them says are the defaults. The values are frozen in the plan: another version's preset changes no run that has begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from trainmaster.api.hyperparameters import ALIASES, Scalar, effective
from trainmaster.api.market_presets import MODEL_PRESETS, TRAINER_PRESETS, Preset
from trainmaster.api.problems import Problem, refusal
from trainmaster.api.wording import fold, nearest

Part = Literal["model", "trainer"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)

PRESETS: Final[Mapping[str, Mapping[Part, Mapping[str, Preset]]]] = {
    "market-classifier": {"model": MODEL_PRESETS, "trainer": TRAINER_PRESETS},
    "custom": {"model": {}, "trainer": {}},
}
"""By workload, part and name."""

NO_PRESETS: Final = "workload {workload} has no presets"
UNKNOWN_PRESET: Final = "no preset of this name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a value comes from that the user has not written."""

    part: Part
    preset: str


def find_preset(workload: str, part: Part, *, name: str) -> Preset | None:
    """The preset of a name, in any spelling: `production_small` is `production-small`."""
    return next((preset for known, preset in PRESETS[workload][part].items() if fold(known) == fold(name)), None)


def preset_problems(workload: str, presets: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with the names of presets; parts that do not exist are no business of this."""
    for part in PARTS:
        name = presets.get(part)
        if name is None or find_preset(workload, part, name=name) is not None:
            continue
        known = PRESETS[workload][part]
        near = nearest(name, known)
        if not known:
            message, hint = NO_PRESETS.format(workload=workload), "remove it"
        else:
            message = UNKNOWN_PRESET
            hint = f'did you mean "{near}"?' if near else f"there are {', '.join(known)}"
        yield Problem(path=f"spec.presets.{part}", value=name, message=message, hint=hint)


def preset_values(workload: str, presets: Mapping[str, str]) -> dict[str, tuple[Scalar, Origin]]:
    """The values that presets bring, and whence; presets that do not exist bring none."""
    values: dict[str, tuple[Scalar, Origin]] = {}
    for part in PARTS:
        preset = find_preset(workload, part, name=presets[part]) if part in presets else None
        if preset is not None:
            origin = Origin(part=part, preset=preset.name)
            values |= {name: (choice.value, origin) for name, choice in preset.choices.items()}
    return values


def over_presets(workload: str, *, presets: Mapping[str, str], given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The given hyperparameters over those of the presets, not yet judged."""
    other_names = ALIASES[workload]
    named = {other_names.get(name, name) for name in given}
    brought = {name: value for name, (value, _) in preset_values(workload, presets).items() if name not in named}
    return {**brought, **given}


def resolved(workload: str, *, presets: Mapping[str, str], given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """All hyperparameters of a workload: the given values over the presets' over the defaults, typed.

    Raises pydantic's ValidationError on names and values that do not fit, and on presets that do not exist.
    """
    problems = tuple(preset_problems(workload, presets))
    if problems:
        raise refusal(problems)
    return effective(workload, over_presets(workload, presets=presets, given=given))
