"""A launch whose pod does not run, or does not go: what is said of it, what it costs, and what ends the waiting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.runs import Field, at, conditions_of, decision_of, job_of, look, run_of, status_of
from trainmaster.api.conditions import DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.trainingrun import TrainingRunStatus
from trainmaster.core.run.placement import placement_of
from trainmaster.core.run.waiting import LOST_SECONDS, POD_SECONDS
from trainmaster.core.snapshot import JobState, ObservedJob, Told


def waiting_job(reason: str, message: str = "") -> ObservedJob:
    return job_of("Pending", live_pods=1, waiting=Told(reason=reason, message=message))


def said(status: TrainingRunStatus) -> tuple[str, str]:
    (ready,) = [c for c in status.conditions if c.type == "Ready"]
    return ready.reason, ready.message


TABLE = [
    # the cluster's word -> our reason, and what stands in the sentence
    ("Unschedulable", "0/9 nodes are available: 9 Insufficient nvidia.com/gpu.", Reason.UNSCHEDULABLE, "no node takes"),
    ("SchedulerError", "binding rejected", Reason.UNSCHEDULABLE, "no node takes"),
    ("SchedulingGated", "", Reason.JOB_QUEUED, "scheduling gate"),
    ("ErrImagePull", "not found", Reason.IMAGE_PULL_FAILED, "cannot be pulled"),
    ("ImagePullBackOff", "Back-off pulling image", Reason.IMAGE_PULL_FAILED, "cannot be pulled"),
    ("ErrImageNeverPull", "", Reason.IMAGE_PULL_FAILED, "cannot be pulled"),
    ("CreateContainerConfigError", 'secret "x" not found', Reason.CONTAINER_NOT_STARTED, "does not start"),
    ("SomethingNew", "of a later version", Reason.CONTAINER_NOT_STARTED, "does not start"),
]


@pytest.mark.parametrize(("word", "message", "reason", "words"), TABLE)
def test_what_holds_a_pod_up_is_said_told_once_and_charged_to_nobody(
    *, word: str, message: str, reason: str, words: str
) -> None:
    job = waiting_job(word, message)
    result = look(run_of(status=status_of()), job, now=at(7200))

    status = result.status
    assert status.phase == Phase.PENDING
    assert said(status)[0] == reason
    assert words in said(status)[1]
    assert message in said(status)[1]
    assert (status.crashes, status.disruptions, status.launch, status.decisions) == (0, 0, 1, ())
    told = [(event.type, event.reason) for event in result.events]
    assert told == ([] if reason == Reason.JOB_QUEUED else [("Warning", reason)])
    assert look(run_of(status=status), job, now=at(7201)).events == ()


def test_a_pod_about_which_nothing_is_said_is_on_its_way() -> None:
    status = look(run_of(status=status_of()), job_of("Pending", live_pods=1)).status

    assert (status.phase, said(status)[0], conditions_of(status)["Ready"]) == (Phase.PENDING, Reason.STARTING, "False")


def test_a_job_without_a_pod_says_where_to_look_for_what_refuses_it() -> None:
    job = job_of("Pending")
    soon = look(run_of(status=status_of()), job, now=at(POD_SECONDS - 1))
    assert (said(soon.status)[0], soon.wake_at) == (Reason.STARTING, at(POD_SECONDS))

    late = look(run_of(status=soon.status), job, now=at(POD_SECONDS))
    assert said(late.status)[0] == Reason.POD_NOT_CREATED
    assert f"kubectl describe job {job.name}" in said(late.status)[1]
    assert [(e.type, e.reason) for e in late.events] == [("Warning", Reason.POD_NOT_CREATED)]
    assert (late.wake_at, late.status.decisions, late.status.disruptions) == (None, (), 0)

    queued = status_of(queued_seconds=9000)
    assert said(look(run_of(status=queued), job, now=at(9000)).status)[0] == Reason.STARTING


def test_it_heals_by_itself_when_the_image_appears() -> None:
    stuck = look(run_of(status=status_of()), waiting_job("ErrImagePull")).status
    status = look(run_of(status=stuck), job_of(running_since=at(90)), now=at(90)).status

    assert (status.phase, said(status)[0]) == (Phase.RUNNING, Reason.RUNNING)


def test_the_words_of_an_attempt_stand_while_the_kubelet_pauses_before_the_next() -> None:
    failed = look(run_of(status=status_of()), waiting_job("ErrImagePull", "no such host")).status
    paused = look(run_of(status=failed), waiting_job("ImagePullBackOff", "Back-off pulling image")).status
    again = look(run_of(status=paused), waiting_job("ErrImagePull", "unauthorized")).status

    assert said(paused) == said(failed)
    assert "unauthorized" in said(again)[1]


def test_a_scheduling_deadline_ends_the_waiting_and_says_what_was_waited_for() -> None:
    job = waiting_job("Unschedulable", "9 Insufficient nvidia.com/gpu")
    run = run_of(status=status_of(), schedulingDeadlineSeconds=600)
    assert look(run, job, now=at(599)).status.decisions == ()

    ordered = look(run, job, now=at(600)).status
    assert [(d.kind, d.reason) for d in ordered.decisions] == [
        (DecisionKind.END_LAUNCH, Reason.SCHEDULING_DEADLINE_EXCEEDED)
    ]
    ended = look(run_of(status=ordered, schedulingDeadlineSeconds=600), now=at(610)).status
    assert (ended.phase, said(ended)[0]) == (Phase.FAILED, Reason.SCHEDULING_DEADLINE_EXCEEDED)
    assert "9 Insufficient nvidia.com/gpu" in said(ended)[1]
    assert (ended.crashes, ended.disruptions) == (0, 0)


# -- a spec that changes while its pod waits ---------------------------------------------------------------------------

BEFORE: dict[str, Any] = {"nodeSelector": {"pool": "a", "zone": "z"}}
PLACED = placement_of(run_of(**BEFORE).spec)
CHANGES: list[dict[str, Any]] = [
    {"nodeSelector": {"pool": "b", "zone": "z"}},
    {},
    BEFORE | {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
    BEFORE | {"imagePullSecrets": [{"name": "pull"}]},
    BEFORE | {"priorityClassName": "high"},
    BEFORE | {"serviceAccountName": "trainer"},
]


@pytest.mark.parametrize("state", ["Pending", "Suspended"])
@pytest.mark.parametrize("changed", CHANGES)
def test_a_launch_that_waits_with_what_the_spec_does_not_say_any_more_is_followed_by_another(
    changed: dict[str, Any], state: JobState
) -> None:
    job = job_of(state, placement=PLACED)
    ordered = look(run_of(status=status_of(), **changed), job).status
    assert [(d.kind, d.reason) for d in ordered.decisions] == [(DecisionKind.END_LAUNCH, Reason.PLACEMENT_CHANGED)]
    again = look(run_of(status=ordered, **changed), replace(job, deleting=True)).status
    assert len(again.decisions) == 1, "it is ended once"

    status = look(run_of(status=again, **changed), now=at(10)).status
    assert (status.launch, status.decisions[-1].reason) == (2, Reason.PLACEMENT_CHANGED)
    assert (status.crashes, status.disruptions, status.quick_ends) == (0, 0, 0)
    assert look(run_of(status=status, **changed), job_of("Pending", launch=2, placement="")).status.launch == 2


@pytest.mark.parametrize(
    ("job", "spec"),
    [
        pytest.param(job_of("Pending", placement=PLACED), BEFORE, id="nothing has changed"),
        pytest.param(
            job_of("Pending", placement=PLACED), {"nodeSelector": {"zone": "z", "pool": "a"}}, id="in another order"
        ),
        pytest.param(
            job_of("Pending", placement=PLACED), BEFORE | {"ttlSecondsAfterFinished": 5}, id="something else has"
        ),
        pytest.param(job_of("Running", placement=PLACED), {}, id="the pod runs"),
        pytest.param(job_of("Pending"), {}, id="a Job of an older operator"),
    ],
)
def test_other_launches_stay(job: ObservedJob, spec: dict[str, Any]) -> None:
    assert look(run_of(status=status_of(), **spec), job).status.decisions == ()


def test_a_deadline_that_has_passed_is_not_put_off_by_another_place() -> None:
    run = run_of(status=status_of(), schedulingDeadlineSeconds=600)
    status = look(run, job_of("Pending", placement=PLACED), now=at(600)).status

    assert [d.reason for d in status.decisions] == [Reason.SCHEDULING_DEADLINE_EXCEEDED]


# -- what ends the waiting --------------------------------------------------------------------------------------------

OWN_IMAGE: dict[str, Any] = {"workload": "custom", "command": ["python", "train.py"], "image": "Not/An/Image"}


@pytest.mark.parametrize(
    ("spec", "of_run"),
    [
        pytest.param(OWN_IMAGE, False, id="a sidecar, or the launcher's own container"),
        pytest.param({}, True, id="the operator's image"),
    ],
)
def test_an_image_name_that_the_run_has_not_given_ends_nothing(spec: dict[str, Any], *, of_run: bool) -> None:
    job = job_of("Pending", waiting=Told(reason="InvalidImageName", message="couldn't parse it", of_run=of_run))
    status = look(run_of(status=status_of(), **spec), job, now=at(1)).status
    assert status.decisions == ()
    assert (status.phase, said(status)[0]) == (Phase.PENDING, Reason.IMAGE_PULL_FAILED)


def test_an_image_name_that_is_none_ends_the_run_at_once() -> None:
    job = waiting_job("InvalidImageName", "couldn't parse image name")
    ordered = look(run_of(status=status_of(), **OWN_IMAGE), job, now=at(1)).status
    assert [(d.kind, d.reason, d.state) for d in ordered.decisions] == [
        (DecisionKind.END_LAUNCH, Reason.INVALID_CONFIGURATION, DecisionState.RECORDED)
    ]

    ended = look(run_of(status=ordered, **OWN_IMAGE), now=at(3)).status
    assert (ended.phase, said(ended)[0]) == (Phase.FAILED, Reason.INVALID_CONFIGURATION)
    assert "couldn't parse" in said(ended)[1]
    assert (ended.crashes, ended.disruptions) == (0, 0)


# -- a queue ----------------------------------------------------------------------------------------------------------


def test_a_job_that_somebody_suspends_is_queued_and_nothing_is_done_about_it() -> None:
    result = look(run_of(status=status_of(running_time=at(0))), job_of("Suspended"), now=at(60))

    assert (result.status.phase, said(result.status)[0]) == (Phase.QUEUED, Reason.JOB_QUEUED)
    assert (result.effects, result.status.decisions) == ((), ())
    assert conditions_of(result.status)["Succeeded"] == "Unknown"
    assert "Stalled" not in conditions_of(result.status)


def test_time_in_a_queue_counts_in_no_deadline() -> None:
    spec: dict[str, Any] = {"schedulingDeadlineSeconds": 60, "activeDeadlineSeconds": 60}
    queued = look(run_of(status=status_of(), **spec), job_of("Suspended"), now=at(10)).status
    later = look(run_of(status=queued, **spec), job_of("Suspended"), now=at(9000))
    assert (later.status.decisions, later.wake_at) == ((), None)

    released = look(run_of(status=later.status, **spec), job_of("Pending"), now=at(9010)).status
    assert (released.decisions, released.queued_seconds) == ((), 9000)
    waiting = look(run_of(status=released, **spec), job_of("Pending"), now=at(9059))
    assert (waiting.status.decisions, waiting.wake_at) == ((), at(9060))


# -- a node that is lost ----------------------------------------------------------------------------------------------

TAKEN = Told(reason="DeletionByTaintManager", message="Taint manager: deleting due to NoExecute taint")


def lost_job(state: JobState = "Running", **fields: Field) -> ObservedJob:
    return job_of(state, node="n1", due_to_end=at(400), disruption=TAKEN, **fields)


def test_a_pod_that_is_ending_within_its_time_is_no_lost_one() -> None:
    result = look(run_of(status=status_of()), lost_job(), now=at(399))

    assert (result.status.phase, result.wake_at) == (Phase.RUNNING, at(400 + LOST_SECONDS))


@pytest.mark.parametrize("state", ["Running", "Failed"])
def test_a_pod_that_does_not_end_is_on_a_lost_node_and_nothing_is_started_beside_it(state: JobState) -> None:
    result = look(run_of(status=status_of()), lost_job(state, live_pods=1), now=at(400 + LOST_SECONDS))

    status = result.status
    assert (status.phase, said(status)[0]) == (Phase.PENDING, Reason.NODE_LOST)
    assert "n1" in said(status)[1]
    assert TAKEN.reason in said(status)[1]
    assert (result.effects, status.decisions, status.launch) == ((), (), 1)
    assert [(e.type, e.reason) for e in result.events] == [("Warning", Reason.NODE_LOST)]
    assert (status.crashes, status.disruptions) == (0, 0)


def test_once_it_is_gone_the_next_launch_is_opened_and_nobody_is_charged() -> None:
    lost = look(run_of(status=status_of()), lost_job(), now=at(500)).status
    gone = job_of("Failed", node="n1", disrupted=True, disruption=TAKEN)
    status = look(run_of(status=lost), gone, now=at(900)).status

    assert (status.launch, status.crashes, status.disruptions) == (2, 0, 1)
    (launch,) = status.decisions
    assert (launch.kind, launch.reason) == (DecisionKind.LAUNCH, Reason.DISRUPTED)
    assert "node n1" in launch.evidence


def test_a_node_that_answers_again_is_not_lost_any_more() -> None:
    lost = look(run_of(status=status_of()), lost_job(), now=at(500)).status

    assert look(run_of(status=lost), job_of(node="n1"), now=at(510)).status.phase == Phase.RUNNING


def test_a_suspension_waits_for_a_lost_pod_too() -> None:
    end = decision_of(DecisionKind.END_LAUNCH, reason=Reason.SUSPEND_REQUESTED)
    run = run_of(status=status_of(decisions=(end,)), suspend=True)

    assert said(look(run, lost_job(deleting=True), now=at(500)).status)[0] == Reason.NODE_LOST
