"""What of a spec decides where a pod may run and what it may use there, and may change while the run lives.

A Job's pod cannot be changed. While it has not begun to run nothing is lost by another one, so a launch that waits is
ended and followed by one with the new spec, charged to nobody. A pod that runs keeps what it was given: the next launch
has the new spec.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from trainmaster.api.trainingrun import TrainingRunSpec
from trainmaster.core.snapshot import ObservedJob

FIELDS: Final = frozenset(
    {"image_pull_secrets", "node_selector", "priority_class_name", "service_account_name", "tolerations"}
)
DIGITS: Final = 16
"""Hexadecimal digits: enough to tell the specs of one run apart."""


def placement_of(spec: TrainingRunSpec) -> str:
    """A digest of those fields, for the launch's Job to carry."""
    text = json.dumps(spec.model_dump(mode="json", include=set(FIELDS)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def is_outdated(job: ObservedJob | None, spec: TrainingRunSpec) -> bool:
    """Whether a launch waits with what the spec does not say any more; of a Job that carries no digest nobody knows."""
    if job is None or job.state not in {"Pending", "Suspended"} or not job.placement:
        return False
    return job.placement != placement_of(spec)
