"""Nodes that fail launches: noted, avoided from the second time on, forgotten after a day.

Only what a node is to blame for is noted: a kubelet that went silent, ended the pod itself or did not take it, a
container that ended without a word of its launcher. Drains, preemptions and crashes of the training process are not.

The list is bounded, and entries age: status has to stay small, a node that was mended or replaced keeps its name, and a
run that has seen eight bad nodes in a day is more likely bad itself. A rerun begins with an empty list.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from trainmaster.api.conditions import EXIT_CRASHED, POD_DELETED, Reason
from trainmaster.api.trainingrun import NodeFailures, TrainingRun, TrainingRunStatus
from trainmaster.core.run.outcome import Ending
from trainmaster.core.run.words import cut
from trainmaster.core.snapshot import ObservedJob

AVOIDED_FROM: Final = 2
"""Failures from which a node is avoided: one may be an accident, and every node has one some day."""
KEPT_NODES: Final = 8
FORGOTTEN_SECONDS: Final = 86_400
"""A day: by then somebody has looked at a node that fails pods, or it is gone."""
NOBODYS_FAULT: Final = frozenset({"EvictionByEvictionAPI", "PreemptionByScheduler", POD_DELETED, Reason.JOB_VANISHED})
"""Words for taking a pod that say nothing against its node."""


def note_failure(
    run: TrainingRun, status: TrainingRunStatus, *, job: ObservedJob, ending: Ending, told: bool, now: datetime
) -> tuple[NodeFailures, ...]:
    """The list after a launch has ended; `told`: its launcher had its last word."""
    if not _blames_node(run, job, ending=ending, told=told):
        return remembered(status.node_failures, now)
    return note(status, node=job.node, reason=ending.message, now=now)


def note(status: TrainingRunStatus, *, node: str, reason: str, now: datetime) -> tuple[NodeFailures, ...]:
    """The list with one more failure of a node; the newest launch counts once, however often it is told of."""
    kept = remembered(status.node_failures, now)
    old = next((known for known in kept if known.node == node), None)
    if not node or (old is not None and status.launch_time is not None and old.last_time > status.launch_time):
        return kept
    fresh = NodeFailures(node=node, failures=(old.failures if old else 0) + 1, last_time=now, reason=cut(reason))
    return tuple([*(known for known in kept if known is not old), fresh][-KEPT_NODES:])


def remembered(failures: Sequence[NodeFailures], now: datetime) -> tuple[NodeFailures, ...]:
    """The list without what is forgotten by now."""
    return tuple(known for known in failures if now < known.last_time + timedelta(seconds=FORGOTTEN_SECONDS))


def avoided(status: TrainingRunStatus) -> tuple[str, ...]:
    """Names of the nodes that the next pod should keep away from."""
    return tuple(known.node for known in status.node_failures if known.failures >= AVOIDED_FROM)


def _blames_node(run: TrainingRun, job: ObservedJob, *, ending: Ending, told: bool) -> bool:
    if job.disruption is not None:
        return ending.kind == "Disrupted" and job.disruption.reason not in NOBODYS_FAULT
    if ending.reason == Reason.OUT_OF_MEMORY:
        # With a limit of its own the pod has met that; without one the node had no more.
        return run.spec.resources.memory is None
    return ending.kind == "Crashed" and not told and job.exit_code not in {None, EXIT_CRASHED}
