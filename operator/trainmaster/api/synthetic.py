"""Sources of data that is made, not measured: `synthetic://NAME?key=value&...`, their keys, ranges and defaults.

The trainer makes the data from what is read here; `rules` judges the same offline. Values are taken as they stand:
nothing is percent-decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from trainmaster.api.errors import TrainmasterError
from trainmaster.api.trainingrun import FILE_PATTERN
from trainmaster.api.wording import explain, nearest

SCHEME: Final = "synthetic://"
MAX_ROWS: Final = 20_000_000
"""Rows of a made table: twice what memory is measured with."""


class SourceError(TrainmasterError):
    """A synthetic source that nobody can make; the message says what is wrong and the way out."""


class HmmSource(BaseModel):
    """A sticky hidden Markov chain: each row shows its state through Gaussian noise, and each label is the state.

    What the best possible classifier of a window scores is known exactly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    separation: float = Field(
        1.0,
        ge=0,
        le=20,
        allow_inf_nan=False,
        description="Distance between the means of any two states, in deviations of the noise; 0: nothing to learn.",
    )
    rows: int = Field(20_000, ge=1, le=MAX_ROWS, description="Rows of the table, oldest first.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of everything that is drawn.")
    states: int = Field(3, ge=2, le=16, description="Hidden states, and classes; at most `columns`.")
    stay: float = Field(
        0.95, ge=0, lt=1, description="Probability that a row keeps the state; else it is drawn from the prior."
    )
    majority: float = Field(
        0.6, gt=0, lt=1, description="Prior of the middle state; the others share the rest. 1/states: balanced."
    )
    label_noise: float = Field(
        0.1, ge=0, lt=1, description="Probability that a label is another class than the state, each equally likely."
    )
    columns: int = Field(8, ge=2, le=512, description="Features that show the state.")
    noise_columns: int = Field(0, ge=0, le=512, description="Features besides that show nothing.")

    @model_validator(mode="after")
    def _check_directions(self) -> HmmSource:
        if self.states > self.columns:
            message = f"states must be at most columns ({self.columns}): each state needs a direction of its own"
            raise ValueError(message)
        return self


class CoinFlipSource(BaseModel):
    """The twin of real bars whose direction is a fair coin: no honest model can beat one half on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str = Field(pattern=FILE_PATTERN, description="The bars: `package://DISTRIBUTION/PATH` or `pvc://CLAIM/PATH`.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the coin.")


SyntheticSource = HmmSource | CoinFlipSource
SYNTHETIC: Final[dict[str, type[HmmSource | CoinFlipSource]]] = {"hmm": HmmSource, "coinflip": CoinFlipSource}
"""Every synthetic source, by the name that follows `synthetic://`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flaw:
    """One thing that is wrong with a source, and the way out."""

    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


def is_synthetic(source: str) -> bool:
    """Whether a source is made rather than read."""
    return source.startswith(SCHEME)


def read_synthetic(source: str) -> SyntheticSource:
    """What a synthetic source asks for. Raises SourceError with every flaw."""
    flaws = judge_synthetic(source)
    if flaws:
        message = f"{source}: " + "; ".join(str(flaw) for flaw in flaws)
        raise SourceError(message)
    name, pairs = _parts(source)
    return SYNTHETIC[name].model_validate(dict(pairs))


def judge_synthetic(source: str) -> tuple[Flaw, ...]:
    """Every flaw of a source that begins with `synthetic://`: its name, its keys, their values."""
    name, pairs = _parts(source)
    if name not in SYNTHETIC:
        near = nearest(name, SYNTHETIC)
        hint = f'did you mean "{near}"?' if near else f"there are: {', '.join(sorted(SYNTHETIC))}"
        return (Flaw(message=f'there is no synthetic source "{name}"', hint=hint),)
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    repeated = [Flaw(message=f"{key} is given {keys.count(key)} times", hint="give it once") for key in twice]
    return (*repeated, *_value_flaws(name, values=dict(pairs)))


def underlying_file(source: str | None) -> str | None:
    """The file that a source reads: its own, or the one that a twin is made of; None where it reads none."""
    if source is None or not is_synthetic(source):
        return source
    return dict(_parts(source)[1]).get("of")


def _parts(source: str) -> tuple[str, list[tuple[str, str]]]:
    name, _, query = source.removeprefix(SCHEME).partition("?")
    pairs = [part.partition("=") for part in query.split("&") if part]
    return name, [(key, value) for key, _, value in pairs]


def _value_flaws(name: str, *, values: dict[str, str]) -> Iterator[Flaw]:
    try:
        SYNTHETIC[name].model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield _flaw(name, detail)


def _flaw(name: str, detail: ErrorDetails) -> Flaw:
    if not detail["loc"]:  # of several keys together
        return Flaw(message=str(detail["ctx"]["error"]), hint="")
    key = str(detail["loc"][0])
    known = SYNTHETIC[name].model_fields
    if detail["type"] == "extra_forbidden":
        near = nearest(key, known)
        hint = f'did you mean "{near}"?' if near else f"it has: {', '.join(known)}"
        return Flaw(message=f'{name} has no key "{key}"', hint=hint)
    message, hint = explain(detail)
    given: Any = "" if detail["type"] == "missing" else f" (got {detail['input']})"
    return Flaw(message=f"{key} {message}{given}", hint=hint)
