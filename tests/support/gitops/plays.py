"""Each place where a TrainingRun can stand, played by a real operator on a real control plane.

A play brings one run there and returns the object as the API server has it then. Plays share a scene, in any order.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.cluster_runs import JOBS
from tests.support.gitops.reporter import Reporter
from tests.support.operator_process import wait_until
from tests.support.own_nodes import own_nodes, says_waiting
from tests.support.scene import Run, Scene
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_RETRY, Outcome, Phase, Reason
from trainmaster.api.labels import LABEL_LAUNCH, LABEL_RUN_UID, job_name

Wire = dict[str, Any]
Play = Callable[[Scene], Wire]

KILLED = 137
STEP = 7


# -- on its way -------------------------------------------------------------------------------------------------------


def new(scene: Scene) -> Wire:
    """Created, and no operator has seen it."""
    with operator_away(scene):
        run = scene.create("new")
        run.wait_for(lambda: run.wire, what="it is there")
        return taken(run)


def starting(scene: Scene) -> Wire:
    """Its Job is there, and no pod yet."""
    with quota(scene, "pods"):
        run = scene.create("starting")
        run.wait_for(run.jobs, what="the Job")
        return settled(run, Phase.PENDING)


def unschedulable(scene: Scene) -> Wire:
    """No node takes its pod: the claim that it names is missing."""
    run = scene.create("unschedulable", storage={"checkpoints": "pvc://missing"})
    run.wait_for(
        lambda: run.condition("Reconciling").get("reason") == Reason.UNSCHEDULABLE, what="the scheduler's word"
    )
    return settled(run, Phase.PENDING)


def image_pull_failed(scene: Scene) -> Wire:
    """A node has its pod, and cannot pull the image."""
    with own_nodes(scene.plane, 1, held=True) as nodes:
        run = scene.create("image-pull-failed", **nodes.spec)
        run.wait_for(lambda: any(pod["spec"].get("nodeName") for pod in run.pods(1)), what="a node has its pod")
        says_waiting(run, launch=1, reason="ErrImagePull", message="no such host")
        wait_reason(run, Reason.IMAGE_PULL_FAILED)
        return settled(run, Phase.PENDING)


def queued(scene: Scene) -> Wire:
    """Somebody else, such as Kueue, holds its Job."""
    run = scene.create("queued", storage={"checkpoints": "pvc://missing"})
    run.wait_pod(launch=1, phase="Pending")
    path = f"{JOBS.format(scene.namespace)}/{run.jobs(1)[0]['metadata']['name']}"
    assert scene.plane.request("PATCH", path, {"spec": {"suspend": True}}).status == 200
    return settled(run, Phase.QUEUED)


def running(scene: Scene) -> Wire:
    """It trains, and its report is in its status."""
    run = reporting(scene, "running")
    run.wait_for(lambda: (run.status.get("progress") or {}).get("step") == STEP, what="the report")
    return settled(run, Phase.RUNNING)


def relaunching(scene: Scene) -> Wire:
    """It trained, a pod was lost, and the next launch has no pod yet."""
    run = reporting(scene, "relaunching")
    with quota(scene, "pods"):
        run.finish(launch=1, exit_code=EXIT_RETRY)
        run.wait_for(lambda: run.jobs(2), what="the second launch")
        return settled(run, Phase.PENDING)


def suspended(scene: Scene) -> Wire:
    """Its user has suspended it while it trained."""
    run = reporting(scene, "suspended")
    run.edit(suspend=True)
    return settled(run, Phase.SUSPENDED)


def unobserved(scene: Scene) -> Wire:
    """It had succeeded, a rerun is asked for, and no operator has seen that."""
    run = ended(scene, "unobserved", outcome=Outcome.COMPLETED)
    with operator_away(scene):
        run.edit(rerun="2")
        run.wait_for(lambda: run.wire["spec"].get("rerun") == "2", what="the edit")
        return taken(run)


# -- held up ----------------------------------------------------------------------------------------------------------


def name_conflict(scene: Scene) -> Wire:
    """A foreign Job has the name that it needs."""
    run = scene.create("name-conflict", suspend=True)
    name = job_name(run.name, uid=run.uid, launch=1)
    pod = {"restartPolicy": "Never", "containers": [{"name": "theirs", "image": "theirs"}]}
    job = {
        "metadata": {"name": name, "labels": {LABEL_RUN_UID: run.uid, LABEL_LAUNCH: "1"}},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    assert scene.plane.request("POST", JOBS.format(scene.namespace), job).status == 201
    run.edit(suspend=False)
    wait_reason(run, Reason.NAME_CONFLICT)
    return taken(run)


def job_refused(scene: Scene) -> Wire:
    """A quota leaves no room for its Job."""
    with quota(scene, "count/jobs.batch"):
        run = scene.create("job-refused")
        wait_reason(run, Reason.JOB_REFUSED)
        return taken(run)


# -- ended ------------------------------------------------------------------------------------------------------------


def succeeded(scene: Scene) -> Wire:
    """It trained to its end."""
    return taken(ended(scene, "succeeded", outcome=Outcome.COMPLETED))


def stopped_early(scene: Scene) -> Wire:
    """Training more would not have helped."""
    return taken(ended(scene, "stopped-early", outcome=Outcome.STOPPED_EARLY))


def already_trained(scene: Scene) -> Wire:
    """It was deleted when it had succeeded, and created again."""
    first = ended(scene, "already-trained", outcome=Outcome.COMPLETED)
    first.delete()
    first.wait_gone()
    again = scene.create("already-trained")
    again.wait_ended(Phase.SUCCEEDED, launches=0)
    return taken(again)


def failed(scene: Scene) -> Wire:
    """Its configuration is one that no retry can help."""
    run = scene.create("failed")
    run.wait_running(launch=1)
    run.finish(launch=1, exit_code=EXIT_CONFIGURATION)
    run.wait_ended(Phase.FAILED, launches=1)
    return taken(run)


def crashed(scene: Scene) -> Wire:
    """It crashed more often than its budget allows."""
    run = scene.create("crashed", recovery={"budgets": {"crashes": 0}})
    run.wait_running(launch=1)
    run.finish(launch=1, exit_code=KILLED)
    run.wait_ended(Phase.FAILED, launches=1)
    return taken(run)


def unknown(scene: Scene) -> Wire:
    """Its Job completed without a verdict."""
    run = scene.create("unknown")
    run.wait_running(launch=1)
    scene.plane.finish_pod(scene.namespace, run.pods(1)[0]["metadata"]["name"])
    run.wait_ended(Phase.UNKNOWN, launches=1)
    return taken(run)


def record_succeeded(scene: Scene) -> Wire:
    """What is left of a run that succeeded."""
    return record_of(ended(scene, "record-succeeded", outcome=Outcome.COMPLETED))


def record_failed(scene: Scene) -> Wire:
    """What is left of a run that failed."""
    run = scene.create("record-failed")
    run.wait_running(launch=1)
    run.finish(launch=1, exit_code=EXIT_CONFIGURATION)
    run.wait_ended(Phase.FAILED, launches=1)
    return record_of(run)


RUNS: tuple[Play, ...] = (
    new, starting, unschedulable, image_pull_failed, queued, running, relaunching, suspended, unobserved,
    name_conflict, job_refused,
    succeeded, stopped_early, already_trained, failed, crashed, unknown,
)  # fmt: skip
RECORDS: tuple[Play, ...] = (record_succeeded, record_failed)
PLAYS = {play.__name__.replace("_", "-"): play for play in (*RUNS, *RECORDS)}


# -- words for plays --------------------------------------------------------------------------------------------------


@contextmanager
def operator_away(scene: Scene) -> Iterator[None]:
    """No operator for as long as the block lasts."""
    scene.keeper.kill()
    try:
        yield
    finally:
        scene.keeper.start()
        scene.operator.wait_until_leading()


@contextmanager
def quota(scene: Scene, what: str) -> Iterator[None]:
    """Nothing more of this kind fits into the namespace for as long as the block lasts."""
    path = f"/api/v1/namespaces/{scene.namespace}/resourcequotas"
    limit = {"metadata": {"name": "none"}, "spec": {"hard": {what: "0"}}}
    assert scene.plane.request("POST", path, limit).status == 201
    wait_until(lambda: scene.plane.request("GET", f"{path}/none").body.get("status", {}).get("hard"), what="a quota")
    try:
        yield
    finally:
        assert scene.plane.request("DELETE", f"{path}/none").status == 200


def wait_reason(run: Run, reason: str) -> None:
    """Wait until its conditions say why it stands where it does."""
    run.wait_for(lambda: run.condition("Ready").get("reason") == reason, what=reason)


def taken(run: Run) -> Wire:
    """The object as it is now."""
    return copy.deepcopy(run.wire)


def settled(run: Run, phase: str) -> Wire:
    """The object when it has a phase, and every decision is carried out."""
    run.wait_phase(phase)
    run.wait_settled()
    return taken(run)


def reporting(scene: Scene, name: str) -> Run:
    """A run that trains, and has reported a step; status says so with its next write, 10 s later at most."""
    run = scene.create(name)
    run.wait_running(launch=1)
    Reporter(run, launch=1).step(STEP)
    return run


def ended(scene: Scene, name: str, *, outcome: str) -> Run:
    """A run that has ended well, as its launcher said."""
    run = reporting(scene, name)
    pod = run.pods(1)[0]["metadata"]["name"]
    scene.plane.finish_pod(scene.namespace, pod, message=last_word(run, outcome))
    run.wait_ended(Phase.SUCCEEDED, launches=1)
    return run


def last_word(run: Run, outcome: str) -> str:
    """A launcher's termination message."""
    verdict = {"outcome": outcome, "reason": outcome, "message": f"said {outcome}", "metrics": {"val_loss": 0.25}}
    return json.dumps(
        {"runUid": run.uid, "launch": 1, "generation": 1, "lastSeq": 1, "step": STEP, "crashes": 0, "verdict": verdict}
    )


def record_of(run: Run) -> Wire:
    """The RunRecord of a run."""

    def found() -> list[Wire]:
        return [item for item in run.scene.history.objects("RunRecord") if item["spec"]["runUid"] == run.uid]

    run.wait_for(found, what="its record")
    return copy.deepcopy(found()[0])
