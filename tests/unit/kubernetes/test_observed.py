"""What decisions are told of Jobs and pods as an API server shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.kubernetes_objects import (
    CONTROLLER,
    ENDED,
    JOB_UID,
    STARTED,
    ended_job,
    ended_pod,
    failed_by_rule,
    job_json,
    pod_json,
    running_pod,
)
from tests.support.runs import UID, message_of, verdict_of
from trainmaster.adapters.kubernetes.observed import (
    RULE_CONFIGURATION,
    RULE_DISRUPTED,
    RULE_RETRY,
    job_facts,
    observe_job,
    pod_facts,
    stray_launches,
)
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_CRASHED, EXIT_OK, EXIT_RETRY
from trainmaster.api.labels import job_name
from trainmaster.core.snapshot import ObservedJob, Told

Json = dict[str, Any]
SINCE, END = datetime.fromisoformat(STARTED), datetime.fromisoformat(ENDED)
DONE = message_of(verdict_of())
LAST_WORDS = DONE.model_dump_json(by_alias=True)
PENDING = ObservedJob(name=job_name("market", uid=UID, launch=1), uid=JOB_UID, run_uid=UID, launch=1, state="Pending")
COMPLETE = replace(PENDING, state="Complete", ended_at=END, exit_code=EXIT_OK)
FAILED = replace(PENDING, state="Failed", ended_at=END)
ANOTHERS = {"apiVersion": "v1", "kind": "ReplicaSet", "name": "x", "uid": "x", "controller": True}

UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available",
}
NO_IMAGE = {"reason": "ErrImagePull", "message": "not found"}
PRESSED = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": "evicted"}
DELETED = Told(reason="PodDeleted", message="somebody deleted it, or its namespace")
FIRST_FAILED = {"terminated": {"exitCode": 1, "reason": "Error"}}


def with_status(pod: Json, **status: Any) -> Json:  # noqa: ANN401 - any JSON
    return pod | {"status": pod["status"] | status}


def on_node(pod: Json) -> Json:
    return pod | {"spec": {"nodeName": "n1"}}


def observe(job: Json, *pods: Json) -> ObservedJob:
    return observe_job(job_facts(job), [pod_facts(pod) for pod in pods])


LIVING = [
    pytest.param(job_json(), [], PENDING, id="just created"),
    pytest.param(job_json(status={"active": 1}), [], replace(PENDING, live_pods=1), id="a pod that is not seen yet"),
    pytest.param(job_json(status={"active": 1}), [pod_json()], replace(PENDING, live_pods=1), id="waits for a node"),
    pytest.param(
        job_json(status={"active": 1}),
        [pod_json(state={"waiting": {"reason": "ImagePullBackOff"}})],
        replace(PENDING, live_pods=1, waiting=Told(reason="ImagePullBackOff")),
        id="its image cannot be pulled",
    ),
    pytest.param(
        job_json(status={"active": 1}),
        [pod_json(state={"waiting": {"reason": "ContainerCreating"}})],
        replace(PENDING, live_pods=1),
        id="its container is being made",
    ),
    pytest.param(
        job_json(status={"active": 1}),
        [with_status(pod_json(), conditions=[UNSCHEDULABLE])],
        replace(PENDING, live_pods=1, waiting=Told(reason="Unschedulable", message="0/1 nodes are available")),
        id="no node takes it",
    ),
    pytest.param(
        job_json(status={"active": 1}),
        [with_status(pod_json(), initContainerStatuses=[{"name": "launcher", "state": {"waiting": NO_IMAGE}}])],
        replace(PENDING, live_pods=1, waiting=Told(reason="ErrImagePull", message="not found", of_run=False)),
        id="the launcher's image cannot be pulled",
    ),
    pytest.param(
        job_json(spec={"suspend": True}),
        [with_status(pod_json(), conditions=[UNSCHEDULABLE])],
        replace(PENDING, state="Suspended", live_pods=1),
        id="why a pod of a suspended Job waited is past",
    ),
    pytest.param(
        job_json(status={"active": 1, "ready": 1}),
        [running_pod()],
        replace(PENDING, state="Running", live_pods=1, running_since=SINCE),
        id="runs",
    ),
    pytest.param(
        job_json(status={"active": 1, "terminating": 1}),
        [running_pod(deletionTimestamp=ENDED), pod_json(uid="second", version=2)],
        replace(PENDING, state="Running", live_pods=2, running_since=SINCE, due_to_end=END),
        id="two pods, one ending",
    ),
    pytest.param(
        job_json(status={"active": 2}),
        [running_pod(uid="2nd", version=2, since=ENDED), running_pod()],
        replace(PENDING, state="Running", live_pods=2, running_since=SINCE),
        id="the first start counts",
    ),
    pytest.param(job_json(spec={"suspend": True}), [], replace(PENDING, state="Suspended"), id="suspended by a queue"),
    pytest.param(job_json(spec={"suspend": False}), [], PENDING, id="let go by a queue"),
    pytest.param(
        job_json(spec={"suspend": True}, status={"terminating": 1}),
        [running_pod(deletionTimestamp=ENDED)],
        replace(PENDING, state="Suspended", live_pods=1, running_since=SINCE, due_to_end=END),
        id="suspended, its pod still ends",
    ),
    pytest.param(
        job_json(deletionTimestamp=ENDED, status={"terminating": 1}),
        [running_pod(deletionTimestamp=ENDED)],
        replace(PENDING, state="Running", deleting=True, live_pods=1, running_since=SINCE, due_to_end=END),
        id="deleted, its pod still ends",
    ),
    pytest.param(
        job_json(status={"active": 1}),
        [ended_pod(EXIT_CRASHED)],
        replace(PENDING, state="Running", pod_ended=True, live_pods=1, running_since=SINCE, exit_code=EXIT_CRASHED),
        id="its pod has failed, the Job does not know yet",
    ),
    pytest.param(
        job_json(),
        [ended_pod(0) | {"metadata": running_pod(deletionTimestamp=ENDED)["metadata"]}],
        replace(PENDING, running_since=SINCE, exit_code=EXIT_OK, disrupted=True, disruption=DELETED),
        id="a queue lets it go whose last pod is being deleted",
    ),
    pytest.param(
        job_json(status={"active": 1}),
        [ended_pod(EXIT_RETRY), pod_json(uid="2nd", version=2)],
        replace(PENDING, live_pods=1, running_since=SINCE),
        id="a queue has let it go, its next pod waits",
    ),
    pytest.param(
        ended_job("Failed"),
        [
            ended_pod(EXIT_RETRY) | {"metadata": running_pod(deletionTimestamp=ENDED)["metadata"]},
            ended_pod(EXIT_CRASHED, version=2),
        ],
        replace(FAILED, running_since=SINCE, exit_code=EXIT_CRASHED),
        id="a queue has let it go, its next pod has crashed",
    ),
    pytest.param(
        job_json(status={"conditions": [{"type": "Failed", "status": "False", "lastTransitionTime": ENDED}]}),
        [],
        PENDING,
        id="a condition that is not true",
    ),
    pytest.param(job_json(status={"conditions": None, "active": None}), [], PENDING, id="members that are null"),
    pytest.param(
        job_json(),
        [running_pod(ownerReferences=[CONTROLLER | {"uid": "another-job"}])],
        PENDING,
        id="another Job's pod",
    ),
]
ENDINGS = [
    pytest.param(
        ended_job("Complete"),
        [ended_pod(0, message=LAST_WORDS)],
        replace(COMPLETE, running_since=SINCE, message=DONE),
        id="complete, with last words",
    ),
    pytest.param(ended_job("Complete"), [], COMPLETE, id="complete, pod gone"),
    pytest.param(ended_job("Complete", active=1), [], COMPLETE, id="an ended Job's count of pods is past"),
    pytest.param(
        ended_job("Failed", message="Job has reached the specified backoff limit"),
        [ended_pod(EXIT_CRASHED)],
        replace(FAILED, running_since=SINCE, exit_code=EXIT_CRASHED),
        id="crashed",
    ),
    pytest.param(
        ended_job("Failed", message="Job has reached the specified backoff limit"),
        [],
        replace(FAILED, podless=True),
        id="failed, pod gone: nothing says why",
    ),
    pytest.param(
        failed_by_rule(RULE_RETRY),
        [ended_pod(EXIT_RETRY)],
        replace(FAILED, running_since=SINCE, exit_code=EXIT_RETRY),
        id="wants a new pod",
    ),
    pytest.param(failed_by_rule(RULE_RETRY), [], replace(FAILED, exit_code=EXIT_RETRY), id="wants a new pod, pod gone"),
    pytest.param(
        failed_by_rule(RULE_CONFIGURATION),
        [],
        replace(FAILED, exit_code=EXIT_CONFIGURATION),
        id="bad configuration, pod gone",
    ),
    pytest.param(failed_by_rule(RULE_DISRUPTED), [], replace(FAILED, disrupted=True), id="disrupted, pod gone"),
    pytest.param(failed_by_rule(11), [], FAILED, id="a rule that is none of ours"),
    pytest.param(
        ended_job("Failed"),
        [ended_pod(137, disrupted=True)],
        replace(FAILED, running_since=SINCE, exit_code=137, disrupted=True, disruption=Told(reason="DisruptionTarget")),
        id="evicted",
    ),
    pytest.param(
        ended_job("Failed"),
        [with_status(ended_pod(137), conditions=[PRESSED], message="The node was low on resource: memory")],
        replace(
            FAILED,
            running_since=SINCE,
            exit_code=137,
            disrupted=True,
            disruption=Told(reason="TerminationByKubelet", message="The node was low on resource: memory"),
        ),
        id="evicted by a kubelet that needs memory",
    ),
    pytest.param(
        ended_job("Failed"),
        [with_status(ended_pod(75), conditions=[PRESSED | {"status": "False"}])],
        replace(FAILED, running_since=SINCE, exit_code=75),
        id="was to be disrupted, and was not",
    ),
    pytest.param(
        ended_job("Failed"),
        [on_node(with_status(pod_json(phase="Failed"), reason="UnexpectedAdmissionError", message="no GPU left"))],
        replace(
            FAILED,
            disrupted=True,
            disruption=Told(reason="UnexpectedAdmissionError", message="no GPU left"),
            end_reason="UnexpectedAdmissionError",
            node="n1",
        ),
        id="its node did not take it",
    ),
    pytest.param(
        ended_job("Failed"),
        [on_node(pod_json(phase="Failed", state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))],
        replace(FAILED, exit_code=137, end_reason="OOMKilled", node="n1"),
        id="killed for memory",
    ),
    pytest.param(
        ended_job("Failed"),
        [with_status(pod_json(phase="Failed"), initContainerStatuses=[{"name": "launcher", "state": FIRST_FAILED}])],
        replace(FAILED, end_reason="init container launcher ended with exit code 1"),
        id="the launcher could not be copied",
    ),
    pytest.param(
        failed_by_rule(RULE_DISRUPTED),
        [running_pod(deletionTimestamp=ENDED)],
        replace(FAILED, running_since=SINCE, live_pods=1, disrupted=True, due_to_end=END),
        id="its node is lost, its pod lingers",
    ),
    pytest.param(
        ended_job("Failed"),
        [ended_pod(EXIT_RETRY, version=5), ended_pod(137, version=3) | {"metadata": pod_json(uid="1st")["metadata"]}],
        replace(FAILED, running_since=SINCE, exit_code=EXIT_RETRY),
        id="the last pod's word counts",
    ),
    pytest.param(
        ended_job("Complete"),
        [pod_json(phase="Succeeded")],
        COMPLETE,
        id="a pod without container statuses",
    ),
    pytest.param(
        ended_job("Failed"),
        [pod_json(phase="Failed", state={"terminated": {"exitCode": 128, "startedAt": None}})],
        replace(FAILED, exit_code=128),
        id="a container that never started",
    ),
]


@pytest.mark.parametrize(("job", "pods", "seen"), LIVING + ENDINGS)
def test_what_is_seen_of_a_job(job: Json, pods: list[Json], seen: ObservedJob) -> None:
    assert observe(job, *pods) == seen


@pytest.mark.parametrize(
    "owners",
    [
        pytest.param([], id="nobody"),
        pytest.param(None, id="no list"),
        pytest.param([ANOTHERS], id="another kind"),
        pytest.param([CONTROLLER | {"controller": False}], id="a run that does not control it"),
        pytest.param([CONTROLLER | {"apiVersion": "trainmaster.io/v9"}], id="another version of the kind"),
        pytest.param([CONTROLLER | {"apiVersion": "example.com/v1alpha1"}], id="another group's TrainingRun"),
    ],
)
def test_a_job_that_no_run_controls_is_nobodys_whatever_its_labels_say(owners: list[Json] | None) -> None:
    facts = job_facts(job_json(ownerReferences=owners))

    assert (facts.run_uid, facts.run_name) == ("", "")
    assert observe(job_json(ownerReferences=owners)).run_uid == ""


def test_the_controller_is_found_among_other_owners() -> None:
    assert job_facts(job_json(ownerReferences=[ANOTHERS | {"controller": False}, CONTROLLER])).run_uid == UID


@pytest.mark.parametrize("labels", [None, {}, {"trainmaster.io/launch": "first"}, {"trainmaster.io/launch": "-1"}])
def test_a_launch_that_no_label_tells_is_zero(labels: Json | None) -> None:
    assert (job_facts(job_json(labels=labels)).launch, pod_facts(pod_json(labels=labels)).launch) == (0, 0)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("Traceback (most recent call last):\n  ...", id="garbage"),
        pytest.param(LAST_WORDS[:-20], id="cut off"),
        pytest.param("[]", id="no object"),
        pytest.param("{}", id="nothing in it"),
        pytest.param("", id="empty"),
        pytest.param("null", id="null"),
        pytest.param(LAST_WORDS.replace('"step":1', '"step":"many"'), id="a word for a number"),
    ],
)
def test_last_words_that_nobody_can_read_are_none(said: str) -> None:
    seen = observe(ended_job("Complete"), ended_pod(0, message=said))

    assert (seen.message, seen.exit_code) == (None, EXIT_OK)


def test_last_words_of_an_older_and_a_newer_launcher_are_read() -> None:
    older = (
        f'{{"protocol":0,"runUid":"{UID}","launch":1,"generation":1,"lastSeq":1,"step":1,'
        '"verdict":{"outcome":"Completed","reason":"Completed"}}'
    )
    newer = LAST_WORDS.replace('"step":1', '"step":1,"mood":"good"')
    for said in (older, newer):
        message = observe(ended_job("Complete"), ended_pod(0, message=said)).message
        assert message is not None
        assert (message.verdict.outcome, message.step) == ("Completed", 1)


def test_a_pod_carries_the_identity_of_its_launch() -> None:
    facts = pod_facts(running_pod())

    assert (facts.run_uid, facts.run_name, facts.launch, facts.job_uid) == (UID, "market", 1, JOB_UID)
    assert facts.running_since == datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)


def test_pods_that_outlive_their_job_are_strays_until_they_end() -> None:
    job = job_facts(job_json(uid="other"))
    living, ended = pod_facts(running_pod(labels={"trainmaster.io/launch": "3"})), pod_facts(ended_pod(0))

    assert stray_launches([living, ended], [job]) == {3}
    assert stray_launches([living, ended], [job_facts(job_json())]) == frozenset()


@pytest.mark.parametrize(
    ("raw", "wrong"),
    [
        ("Killed by somebody", "it is no JSON"),
        ("[]", "must be a mapping of names to values"),
        (LAST_WORDS.replace('"lastSeq":1,', ""), "lastSeq: is required"),
        (LAST_WORDS.replace('"step":1', '"step":"many"'), "step: must be a whole number"),
        (
            LAST_WORDS.replace('"lastSeq":1,', "").replace('"outcome":"Completed",', ""),
            "lastSeq: is required; verdict.outcome: is required",
        ),
    ],
)
def test_what_is_wrong_with_a_last_word_is_said_by_field(*, raw: str, wrong: str) -> None:
    seen = observe(ended_job("Complete"), ended_pod(0, message=raw))

    assert (seen.message, seen.unreadable) == (None, wrong)


def test_a_last_word_that_can_be_read_or_is_not_there_has_nothing_wrong() -> None:
    for pod in (ended_pod(0), ended_pod(0, message=LAST_WORDS)):
        assert observe(ended_job("Complete"), pod).unreadable == ""


@pytest.mark.parametrize(
    ("deleted", "grace", "disruption"),
    [
        ("2026-03-01T12:31:00Z", 120, DELETED),
        ("2026-03-01T12:29:30Z", 0, DELETED),
        ("2026-03-01T12:32:01Z", 120, None),
        ("2026-03-01T13:00:00Z", 0, None),
    ],
    ids=["while it ran", "at once while it ran", "a second after its end", "long after its end"],
)
def test_what_ends_after_somebody_deleted_it_is_no_crash(*, deleted: str, grace: int, disruption: Told | None) -> None:
    pod = ended_pod(143)
    pod["metadata"] |= {"deletionTimestamp": deleted, "deletionGracePeriodSeconds": grace}

    seen = observe(ended_job("Failed"), pod)

    assert (seen.disrupted, seen.disruption) == (disruption is not None, disruption)
