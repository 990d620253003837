"""Nodes that fail launches: which ends count against a node, when it is avoided, and when that is forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.runs import T0, at, job_of, launch_open, look, message_of, run_of, status_of, verdict_of
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_CRASHED, EXIT_RETRY, Outcome
from trainmaster.api.trainingrun import NodeFailures, TrainingRunStatus
from trainmaster.core.run.nodes import FORGOTTEN_SECONDS, KEPT_NODES, avoided, remembered
from trainmaster.core.snapshot import CreateJob, ObservedJob, Told


def failed(launch: int = 1, *, node: str = "n1", **fields: Any) -> ObservedJob:  # noqa: ANN401 - fields of a Job
    return job_of("Failed", launch=launch, node=node, **fields)


def taken(reason: str) -> dict[str, Any]:
    return {"disrupted": True, "disruption": Told(reason=reason), "exit_code": EXIT_RETRY}


def noted(job: ObservedJob, *, status: TrainingRunStatus | None = None, **spec: Any) -> dict[str, int]:  # noqa: ANN401 - fields of spec
    after = look(run_of(status=status or status_of(), **spec), job, now=at(600)).status
    return {known.node: known.failures for known in after.node_failures}


BLAME = [
    (taken("DeletionByTaintManager"), True),
    (taken("DeletionByPodGC"), True),
    (taken("TerminationByKubelet"), True),
    ({"disrupted": True, "disruption": Told(reason="UnexpectedAdmissionError")}, True),
    ({"exit_code": 137}, True),
    ({"exit_code": 139}, True),
    ({"exit_code": 137, "end_reason": "OOMKilled"}, True),
    (taken("EvictionByEvictionAPI"), False),
    (taken("PreemptionByScheduler"), False),
    ({"disrupted": True}, False),
    ({"exit_code": EXIT_RETRY}, False),
    ({"exit_code": EXIT_CRASHED}, False),
    ({"exit_code": EXIT_CONFIGURATION}, False),
    ({"exit_code": 1, "message": message_of(verdict_of(Outcome.FAILED, reason="Crashed"), crashes=3)}, False),
    ({"podless": True}, False),
]


@pytest.mark.parametrize(("end", "blamed"), BLAME)
def test_a_node_is_blamed_for_what_it_did(*, end: dict[str, Any], blamed: bool) -> None:
    assert noted(failed(**end)) == ({"n1": 1} if blamed else {})


def test_a_pod_that_met_its_own_limit_says_nothing_against_its_node() -> None:
    oom = failed(exit_code=137, end_reason="OOMKilled")

    assert noted(oom, resources={"memory": "1Gi"}) == {}


def test_a_lost_node_is_blamed_although_its_pod_is_gone_and_says_nothing() -> None:
    running = look(run_of(status=status_of()), job_of(node="n1"), now=at(5)).status
    assert running.launch_node == "n1"
    silent = job_of(node="n1", due_to_end=at(400))
    lost = look(run_of(status=running), silent, now=at(500)).status
    gone = look(run_of(status=lost), job_of("Failed", disrupted=True), now=at(900)).status

    assert [(known.node, known.failures) for known in gone.node_failures] == [("n1", 1)]
    assert gone.decisions[-1].evidence == "the cluster took the pod on node n1"
    assert (gone.launch, gone.launch_node) == (2, "")


def test_a_node_whose_pod_a_person_deleted_is_not_blamed() -> None:
    running = look(run_of(status=status_of()), job_of(node="n1"), now=at(5)).status

    assert look(run_of(status=running), now=at(900)).status.node_failures == ()
    assert noted(failed(node="", podless=True), status=running) == {}


def test_a_node_that_is_not_known_is_not_blamed() -> None:
    assert noted(failed(node="", exit_code=137)) == {}


def test_a_node_that_fails_twice_is_avoided_by_the_next_launch() -> None:
    once = look(run_of(status=status_of()), failed(**taken("TerminationByKubelet")), now=at(600)).status
    assert (once.launch, avoided(once), "avoids" in once.decisions[-1].evidence) == (2, (), False)

    twice = look(run_of(status=once), failed(2, **taken("TerminationByKubelet")), now=at(1200)).status
    assert (twice.launch, avoided(twice)) == (3, ("n1",))
    assert "avoids n1" in twice.decisions[-1].evidence

    (effect,) = look(run_of(status=twice), now=at(1201)).effects
    assert isinstance(effect, CreateJob)
    assert effect.avoided_nodes == ("n1",)


def test_two_nodes_that_fail_once_are_not() -> None:
    once = look(run_of(status=status_of()), failed(exit_code=137), now=at(600)).status
    twice = look(run_of(status=once), failed(2, node="n2", exit_code=137), now=at(1200)).status

    assert (avoided(twice), len(twice.node_failures)) == ((), 2)


def test_a_day_later_a_node_is_forgotten() -> None:
    old = NodeFailures(node="n1", failures=5, last_time=T0)
    status = status_of(launch_outcome="Disrupted", node_failures=(old,))
    end = T0 + timedelta(seconds=FORGOTTEN_SECONDS)

    assert remembered((old,), end - timedelta(seconds=1)) == (old,)
    after = look(run_of(status=status), now=end).status
    assert (after.launch, after.node_failures) == (2, ())


def test_what_was_forgotten_counts_no_more() -> None:
    old = NodeFailures(node="n1", failures=5, last_time=T0 - timedelta(seconds=FORGOTTEN_SECONDS))

    assert noted(failed(exit_code=137), status=status_of(node_failures=(old,))) == {"n1": 1}


def test_the_list_is_bounded_and_keeps_the_newest() -> None:
    full = tuple(NodeFailures(node=f"n{n}", failures=2, last_time=T0) for n in range(KEPT_NODES))
    after = noted(failed(node="another", exit_code=137), status=status_of(node_failures=full))

    assert list(after) == [*[f"n{n}" for n in range(1, KEPT_NODES)], "another"]


def test_a_rerun_begins_with_all_nodes() -> None:
    old = NodeFailures(node="n1", failures=2, last_time=T0)
    status = status_of(launch_outcome="Completed", phase="Succeeded", node_failures=(old,), observed_rerun="a")

    assert look(run_of(status=status, rerun="b"), now=at(5)).status.node_failures == ()


def test_what_is_not_avoided_is_not_in_the_effect() -> None:
    (effect,) = look(run_of(status=status_of(decisions=(launch_open(),)))).effects
    assert isinstance(effect, CreateJob)
    assert effect.avoided_nodes == ()
