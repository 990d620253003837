"""Names of learning rate schedulers: torch's and people's spellings, and the one that each stands for."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

_SCHEDULERS: Final = {
    "constant": "constant",
    "constantlr": "constant",
    "none": "constant",
    "cosineannealingwarmrestarts": "cosine-annealing-warm-restarts",
    "cosinewarmrestarts": "cosine-annealing-warm-restarts",
    "sgdr": "cosine-annealing-warm-restarts",
    "linear": "linear",
    "linearlr": "linear",
    "exponential": "exponential",
    "exponentiallr": "exponential",
    "cosine": "cosine",
    "cosineannealing": "cosine",
    "cosineannealinglr": "cosine",
    "step": "step",
    "steplr": "step",
    "plateau": "plateau",
    "reducelronplateau": "plateau",
    "reduceonplateau": "plateau",
    "warmupcosine": "warmup-cosine",
    "cosinewarmup": "warmup-cosine",
    "cosinewithwarmup": "warmup-cosine",
}
"""Spelling variants, without case, `_`, `-` and spaces."""


def canonical_scheduler(value: object) -> object:
    """The one name of a scheduler, from any spelling of it; what is no scheduler stays what it is."""
    if not isinstance(value, str):
        return value
    return _SCHEDULERS.get(value.replace("_", "").replace("-", "").replace(" ", "").lower(), value)


SchedulerName = Literal[
    "constant",
    "cosine-annealing-warm-restarts",
    "linear",
    "exponential",
    "cosine",
    "step",
    "plateau",
    "warmup-cosine",
]

Scheduler = Annotated[SchedulerName, BeforeValidator(canonical_scheduler)]
