"""The API server refuses, is busy, or answers what is not so: nothing is lost, nothing is done twice.

Cases 11, 12, 14, 15, 19 and 20 of the fault catalogue.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cluster_runs import JOBS
from tests.support.fault_proxy.faults import Answer, AnswerAfterCommit, Fault, Reset
from tests.support.fault_proxy.requests import WRITES, Match
from tests.support.operator_process import wait_until
from tests.support.scene import Run, Scene
from trainmaster.api.conditions import Reason
from trainmaster.api.labels import job_name

Wire = dict[str, Any]

CONFLICTS = 20
"""As many as the fault catalogue asks for."""


def statuses_of(name: str) -> Match:
    return Match(resource="trainingruns", subresource="status", name=name, verbs=("patch",))


def create_jobs_of(name: str) -> Match:
    return Match(resource="jobs", verbs=("create",), name=f"{name}-*")


def succeed(run: Run, *, launches: int = 1) -> None:
    run.wait_running(launch=launches)
    run.finish(launch=launches)
    run.wait_ended("Succeeded", launches=launches)


def test_11_twenty_conflicts_in_a_row_lose_nothing(stage: Scene) -> None:
    run = stage.create("conflicts", activeDeadlineSeconds=5000)
    run.wait_running(launch=1)
    conflicts = stage.proxy.install(Answer(match=statuses_of("conflicts"), status=409, times=CONFLICTS))

    run.finish(launch=1)
    conflicts.wait()
    run.edit(activeDeadlineSeconds=6000)
    run.wait_ended("Succeeded", launches=1)

    assert conflicts.strikes == CONFLICTS
    assert run.wire["spec"]["activeDeadlineSeconds"] == 6000
    assert run.status["observedGeneration"] == run.wire["metadata"]["generation"]
    assert len(run.jobs_ever()) == 1
    run.assert_quiet()
    stage.assert_lawful()


def test_11_a_real_conflict_with_whoever_else_writes_status(stage: Scene) -> None:
    run = stage.create("shared")
    run.wait_running(launch=1)
    ours = stage.plane.request("PATCH", f"{run.path}/status", {"status": {"conditions": [*foreign(run)]}})
    assert ours.status == 200

    succeed(run)

    assert run.condition("example.org/Audited")["status"] == "True", "conditions of others stay"
    stage.assert_lawful()


def foreign(run: Run) -> list[Wire]:
    mine = {"type": "example.org/Audited", "status": "True", "reason": "Audited"}
    return [*run.status["conditions"], mine | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]


def test_12_a_job_of_somebody_else_under_our_name_is_left_alone_and_told_of(stage: Scene) -> None:
    run = stage.create("taken", suspend=True)
    run.wait_phase("Suspended")
    name = job_name("taken", uid=run.uid, launch=1)
    jobs = JOBS.format(stage.namespace)
    assert stage.plane.request("POST", jobs, foreign_job(name)).status == 201

    run.edit(suspend=False)
    run.wait_for(lambda: run.condition("Stalled").get("reason") == Reason.NAME_CONFLICT, what="NameConflict")
    run.assert_quiet()
    assert stage.plane.request("GET", f"{jobs}/{name}").body["spec"]["suspend"] is True, "as its owner left it"
    assert stage.plane.request("DELETE", f"{jobs}/{name}", {"propagationPolicy": "Background"}).status == 200
    run.wait_for(lambda: not stage.history.newest("Job", name), what="the foreign Job is gone")
    run.touch()
    succeed(run)

    assert len(run.jobs_ever()) == 1
    stage.assert_lawful()


def foreign_job(name: str) -> Wire:
    pod = {"restartPolicy": "Never", "containers": [{"name": "other", "image": "other:1"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    return job | {"spec": {"suspend": True, "template": {"spec": pod}}}


AMBIGUOUS: dict[str, Fault] = {
    "job-504": AnswerAfterCommit(match=create_jobs_of("job-504"), status=504),
    "job-409": AnswerAfterCommit(match=create_jobs_of("job-409"), status=409, reason="AlreadyExists"),
    "job-reset": Reset(match=create_jobs_of("job-reset"), after_commit=True),
    "status-504": AnswerAfterCommit(match=statuses_of("status-504"), status=504, times=2),
    "status-reset": Reset(match=statuses_of("status-reset"), after_commit=True),
}
"""Writes that the server has taken and the operator does not know of, by the name of the run that meets them."""


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_12_15_what_was_committed_without_our_knowing_is_adopted(stage: Scene, name: str) -> None:
    installed = stage.proxy.install(AMBIGUOUS[name])
    run = stage.create(name)

    succeed(run)

    assert installed.strikes >= 1
    assert len(run.creates) == len(run.jobs_ever()) == 1
    assert (run.status["crashes"], run.status["disruptions"]) == (0, 0)
    stage.assert_lawful()


def test_14_a_busy_server_is_waited_for(stage: Scene) -> None:
    run = stage.create("busy")
    run.wait_running(launch=1)
    wait_until(lambda: stage.operator.get("/readyz")[0] == 200, what="an operator that is ready")
    everything = Match(namespace=stage.namespace, where=lambda request: request.verb != "watch")
    busy = stage.proxy.install(Answer(match=everything, status=429, headers={"Retry-After": "1"}, times=6))

    others = [stage.create(f"backlog-{number}") for number in range(3)]
    run.finish(launch=1)
    busy.wait(3)
    assert stage.operator.get("/healthz")[0] == stage.operator.get("/readyz")[0] == 200
    run.wait_ended("Succeeded", launches=1)
    for other in others:
        other.wait_running(launch=1)

    assert busy.strikes == 6
    assert [len(each.creates) for each in (run, *others)] == [1, 1, 1, 1]
    stage.assert_lawful()


def test_14_one_that_asks_for_more_than_a_worker_can_wait_is_asked_again_by_the_queue(stage: Scene) -> None:
    long = Answer(match=statuses_of("later"), status=429, headers={"Retry-After": "600"}, times=1)
    installed = stage.proxy.install(long)

    run = stage.create("later")
    succeed(run)

    assert installed.strikes == 1
    stage.assert_lawful()


@pytest.mark.parametrize("status", [500, 503, 504])
def test_15_a_storm_of_server_errors_passes(stage: Scene, status: int) -> None:
    here = Match(namespace=stage.namespace, verbs=("get", "list"))
    writes = Match(namespace=stage.namespace, where=WRITES)
    stage.proxy.install(Answer(match=writes, status=status, times=2))
    storm = stage.proxy.install(Answer(match=here, status=status, times=5))
    name = f"storm-{status}"

    run = stage.create(name)
    succeed(run)

    assert storm.strikes == 5
    assert len(run.creates) == len(run.jobs_ever()) == 1
    assert stage.operator.process.poll() is None
    stage.assert_lawful()


def test_19_a_job_that_an_admission_webhook_denies_is_told_of_and_not_sent_in_a_loop(stage: Scene) -> None:
    message = 'admission webhook "policy.example.org" denied the request: no'
    answer = Answer(match=create_jobs_of("denied"), status=403, message=message, times=None)
    denied = stage.proxy.install(answer)

    run = stage.create("denied")
    run.wait_for(lambda: run.condition("Stalled").get("reason") == Reason.JOB_REFUSED, what="JobRefused")

    assert message in run.condition("Stalled")["message"]
    run.assert_quiet()
    assert denied.strikes == 1, "woken at once, and asked for once"
    assert run.status["crashes"] == run.status["disruptions"] == 0
    denied.remove()
    run.edit(suspend=True)
    run.wait_phase("Suspended")
    run.edit(suspend=False)
    succeed(run, launches=2)
    stage.assert_lawful()


def test_20_a_quota_that_pods_do_not_fit_in_is_waiting_and_no_failure(stage: Scene) -> None:
    quotas = f"/api/v1/namespaces/{stage.namespace}/resourcequotas"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    assert stage.plane.request("POST", quotas, quota).status == 201
    wait_until(
        lambda: stage.plane.request("GET", f"{quotas}/none").body.get("status", {}).get("hard"), what="the quota"
    )

    run = stage.create("poor")
    run.wait_phase("Pending")
    run.wait_settled()
    run.assert_quiet()
    assert run.jobs()
    assert not run.pods()
    assert stage.plane.request("DELETE", f"{quotas}/none").status == 200
    succeed(run)

    assert run.status["crashes"] == run.status["disruptions"] == 0
    assert len(run.jobs_ever()) == 1
    stage.assert_lawful()
