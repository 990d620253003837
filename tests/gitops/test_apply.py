"""Whoever applies a run from Git owns its spec, the operator its status; neither undoes what the other wrote."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fault_proxy.requests import Exchange
from tests.support.gitops.appliers import APPLIERS, ARGO_CD, FLUX, KUBECTL, Applier, repository
from tests.support.gitops.reporter import Reporter
from tests.support.scene import Run, Scene
from trainmaster.api.conditions import Phase, Reason
from trainmaster.api.trainingrun import IMMUTABLE_MESSAGE

Wire = dict[str, Any]

MANAGER = "trainmaster"
"""The operator's field manager: its user agent, since it applies nothing."""
ROUNDS = 12
"""Reports that change status at once: of ten minutes of training most write it once in ten seconds, these at once."""


def each(applier: Applier) -> str:
    """Its name in a test's."""
    return applier.name


def stored(run: Run) -> Wire:
    """The object as the server has it now."""
    found: Wire = run.scene.plane.request("GET", run.path).body
    return found


def version(run: Run) -> str:
    """Its version: another one after each write, whoever wrote."""
    return str(stored(run)["metadata"]["resourceVersion"])


def writes(stage: Scene, mark: int) -> list[Exchange]:
    """The operator's writes in this namespace since then."""
    return [e for e in stage.proxy.since(mark) if e.write is not None and e.request.namespace == stage.namespace]


def trained(run: Run, *, launch: int) -> None:
    """Let a launch end well."""
    run.finish(launch=launch)
    run.wait_ended(Phase.SUCCEEDED, launches=launch)


@pytest.mark.parametrize("applier", APPLIERS, ids=each)
def test_a_run_that_is_applied_again_is_not_written_by_anybody(stage: Scene, applier: Applier) -> None:
    git = repository(f"again-{APPLIERS.index(applier)}")
    run = applier.apply(stage, git.manifest)
    run.wait_running(launch=1)
    run.wait_settled()
    mark, before = stage.proxy.mark(), version(run)

    applier.apply(stage, git.manifest)
    assert version(run) == before
    run.assert_quiet()
    assert writes(stage, mark) == []
    assert len(run.jobs_ever()) == 1


def test_several_tools_take_turns_on_one_run_without_a_fight(stage: Scene) -> None:
    """All that goes to and fro is kubectl's own annotation: server-side apply removes it, client-side apply adds it."""
    git = repository("contested")
    for applier in APPLIERS:
        run = applier.apply(stage, git.manifest)
    run.wait_running(launch=1)
    run.wait_settled()
    before, mark = stored(run), stage.proxy.mark()

    for applier in APPLIERS:
        applier.apply(stage, git.manifest)
        after = stored(run)
        assert (after["spec"], after["status"]) == (before["spec"], before["status"]), f"{applier.name} changed it"
        assert after["metadata"]["generation"] == 1
    run.assert_quiet()
    assert writes(stage, mark) == []
    trained(run, launch=1)
    assert len(run.jobs_ever()) == 1


@pytest.mark.parametrize("applier", [ARGO_CD, FLUX], ids=each)
def test_the_operator_owns_status_and_nothing_else(stage: Scene, applier: Applier) -> None:
    git = repository(f"owned-{APPLIERS.index(applier)}")
    run = applier.apply(stage, git.manifest)
    run.wait_running(launch=1)
    Reporter(run, launch=1).step(7)
    trained(run, launch=1)

    owners = stored(run)["metadata"]["managedFields"]
    ours = [owner for owner in owners if owner["manager"] == MANAGER]
    assert [(owner["subresource"], list(owner["fieldsV1"])) for owner in ours] == [("status", ["f:status"])]
    theirs = [owner for owner in owners if owner["manager"] != MANAGER]
    assert {owner["manager"] for owner in theirs} == {applier.flags[-1].partition("=")[2]}
    assert all("f:status" not in owner["fieldsV1"] for owner in theirs)


@pytest.mark.parametrize("applier", [FLUX, KUBECTL], ids=each)
def test_kubectl_diff_stays_empty_while_a_run_trains(stage: Scene, applier: Applier) -> None:
    git = repository(f"diffed-{APPLIERS.index(applier)}")
    run = applier.apply(stage, git.manifest)
    assert applier.diff(stage, git.manifest) == ""
    run.wait_running(launch=1)
    launcher = Reporter(run, launch=1)
    versions = {version(run)}
    for number in range(1, ROUNDS + 1):
        launcher.step(number, crashed=True)
        run.wait_for(lambda number=number: run.status["crashes"] == number, what=f"report {number}")
        assert applier.diff(stage, git.manifest) == ""
        versions.add(version(run))
    assert len(versions) > ROUNDS, "status was written each time"

    trained(run, launch=1)
    assert run.status["progress"]["step"] == ROUNDS
    assert applier.diff(stage, git.manifest) == ""


@pytest.mark.parametrize("applier", [ARGO_CD, FLUX], ids=each)
def test_a_run_is_suspended_and_resumed_from_git(stage: Scene, applier: Applier) -> None:
    git = repository(f"paused-{APPLIERS.index(applier)}")
    run = applier.apply(stage, git.manifest)
    run.wait_running(launch=1)

    applier.apply(stage, git.commit(suspend=True))
    run.wait_phase(Phase.SUSPENDED)
    run.wait_settled()
    assert not run.pods()
    assert applier.diff(stage, git.manifest) == ""
    applier.apply(stage, git.commit(suspend=False))
    run.wait_running(launch=2)
    assert applier.diff(stage, git.manifest) == ""
    trained(run, launch=2)


def test_a_line_that_is_taken_out_of_git_resumes_a_run_too(stage: Scene) -> None:
    git = repository("forgotten", suspend=True)
    run = FLUX.apply(stage, git.manifest)
    run.wait_phase(Phase.SUSPENDED)
    del git.manifest["spec"]["suspend"]
    FLUX.apply(stage, git.manifest)
    run.wait_running(launch=1)
    assert FLUX.diff(stage, git.manifest) == ""


@pytest.mark.parametrize("applier", [ARGO_CD, FLUX], ids=each)
def test_a_run_is_trained_again_from_git(stage: Scene, applier: Applier) -> None:
    git = repository(f"rerun-{APPLIERS.index(applier)}")
    run = applier.apply(stage, git.manifest)
    run.wait_running(launch=1)
    trained(run, launch=1)

    changed = git.commit(hyperparameters={"learning_rate": 0.001})
    assert IMMUTABLE_MESSAGE in applier.refused(stage, changed)
    applier.apply(stage, git.commit(rerun="2"))
    run.wait_running(launch=2)
    assert run.condition("Succeeded")["status"] == "Unknown", "the end of before is not this one's"
    assert applier.diff(stage, git.manifest) == ""
    trained(run, launch=2)
    assert run.status["plan"]["hyperparameters"]["learning_rate"] == "0.001"
    assert run.condition("Succeeded")["reason"] == Reason.COMPLETED


def test_what_tools_write_on_a_run_to_track_it_stays_off_its_children(stage: Scene) -> None:
    """A tool that found its marks on a Job would take the Job for its own, and prune it: Git has no such file."""
    git = repository("tracked")
    marks: Wire = {
        "labels": {"app.kubernetes.io/instance": "runs", "kustomize.toolkit.fluxcd.io/name": "runs"},
        "annotations": {
            "argocd.argoproj.io/tracking-id": "runs:trainmaster.io/TrainingRun:x/tracked",
            "kustomize.toolkit.fluxcd.io/prune": "Disabled",
        },
    }
    git.manifest["metadata"] |= marks
    run = KUBECTL.apply(stage, git.manifest)
    run.wait_running(launch=1)
    taboo = {*marks["labels"], *marks["annotations"], "kubectl.kubernetes.io/last-applied-configuration"}
    for child in (*run.jobs(), *run.pods()):
        written = {*child["metadata"].get("labels", {}), *child["metadata"].get("annotations", {})}
        assert written.isdisjoint(taboo), child["metadata"]["name"]
        assert child["metadata"]["ownerReferences"]
