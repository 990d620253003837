"""What an update of a stored TrainingRun may change: the API server's transition rules, judged offline.

Local mode keeps runs without an API server, and `trainmaster validate` can compare a file with what is stored; both
must refuse what the cluster refuses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trainmaster.api.conditions import Phase
from trainmaster.api.problems import Problem
from trainmaster.api.trainingrun import IMMUTABLE_MESSAGE, TRAINING_FIELDS, TrainingRunSpec, TrainingRunStatus

AnySpec = TrainingRunSpec | Mapping[str, Any]


def is_untrained(status: TrainingRunStatus) -> bool:
    """Whether nothing was launched under this name, nor taken over from a run that was: its spec may still change."""
    return not status.launch and status.phase != Phase.SUCCEEDED


def judge_update(old: AnySpec, new: AnySpec) -> tuple[Problem, ...]:
    """The training-defining fields that the update changes although it leaves `spec.rerun` alone, one problem each.

    Nobody asks for a run that `is_untrained`: all of its spec may change.

    Both specs are compared after their defaults are filled in, as the API server does it: writing a default out is no
    change. Values are compared as JSON: `1`, `1.0`, `"1"` and `true` are four values, for the API server too. Raises
    pydantic's ValidationError if one of them is no valid spec.
    """
    before, after = _wire(old), _wire(new)
    if before["rerun"] != after["rerun"]:
        return ()
    return tuple(
        Problem(path=f"spec.{field}", value=after.get(field), message=IMMUTABLE_MESSAGE)
        for field in TRAINING_FIELDS
        if _canonical(before.get(field)) != _canonical(after.get(field))
    )


def _wire(spec: AnySpec) -> dict[str, Any]:
    """The spec as stored; names that a newer version wrote are no concern of this one."""
    model = spec if isinstance(spec, TrainingRunSpec) else TrainingRunSpec.model_validate(spec, extra="ignore")
    return model.to_wire()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)
