"""What becomes of a run whose file is removed, that is created again, or that has been ended for long."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.gitops.appliers import ARGO_CD, FLUX, Repository, named, repository
from tests.support.scene import Run, Scene
from trainmaster.api.conditions import Phase, Reason

Wire = dict[str, Any]

PRUNING = {"Argo CD": "Foreground", "Flux": "Background"}
"""How each deletes what is no longer in Git."""


def training(stage: Scene, name: str, **spec: object) -> tuple[Repository, Run]:
    """A run from Git that trains."""
    git = repository(name, **spec)
    run = FLUX.apply(stage, git.manifest)
    run.wait_running(launch=1)
    run.wait_settled()
    return git, run


def finished(stage: Scene, name: str, **spec: object) -> tuple[Repository, Run]:
    """A run from Git that has succeeded."""
    git, run = training(stage, name, **spec)
    run.finish(launch=1)
    run.wait_ended(Phase.SUCCEEDED, launches=1)
    return git, run


def prune(run: Run, how: str) -> None:
    answer = run.scene.plane.request("DELETE", run.path, {"propagationPolicy": how})
    assert answer.status == 200, answer


def records_of(run: Run) -> list[Wire]:
    """What is recorded of runs of its name."""
    items = run.scene.history.objects("RunRecord")
    return [item["spec"] for item in items if item["spec"]["runName"] == run.name]


# -- prune ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", PRUNING)
def test_a_prune_takes_the_children_along_while_the_operator_is_down(stage: Scene, tool: str) -> None:
    _, run = training(stage, f"pruned-{PRUNING[tool].lower()}")
    stage.keeper.kill()
    prune(run, PRUNING[tool])
    run.wait_gone()
    mark = stage.proxy.mark()
    stage.keeper.start()
    stage.operator.wait_until_leading()

    training(stage, f"after-{run.name}")
    about = [e for e in stage.proxy.since(mark) if e.write is not None and run.uid in f"{e.request.body} {e.reply}"]
    assert about == [], "it does nothing about what is gone"
    assert len(run.jobs_ever()) == 1


@pytest.mark.parametrize("tool", PRUNING)
def test_a_prune_hangs_on_nothing_and_nothing_comes_back(stage: Scene, tool: str) -> None:
    _, run = training(stage, f"living-{PRUNING[tool].lower()}")
    assert "finalizers" not in run.wire["metadata"]
    prune(run, PRUNING[tool])
    run.wait_gone()
    assert len(run.jobs_ever()) == 1, "no launch is opened for a run that is on its way out"


# -- created again ----------------------------------------------------------------------------------------------------


def test_a_sync_that_replaces_a_succeeded_run_burns_nothing(stage: Scene) -> None:
    """Argo CD's sync options Force=true,Replace=true."""
    git, first = finished(stage, "replaced")
    stage.plane.kubectl("replace", "--force", "-n", stage.namespace, "-f", "-", input=yaml.safe_dump(git.manifest))
    taken_over(named(stage, first.name), first)
    assert ARGO_CD.diff(stage, git.manifest) == ""


def test_a_succeeded_run_that_is_deleted_comes_back_without_training(stage: Scene) -> None:
    git, first = finished(stage, "restored")
    prune(first, "Background")
    first.wait_gone()
    again = FLUX.apply(stage, git.manifest)
    taken_over(again, first)
    again.assert_quiet()


def taken_over(again: Run, first: Run) -> None:
    """It has the first one's result, and never had a Job."""
    assert again.uid != first.uid
    again.wait_ended(Phase.SUCCEEDED, launches=0)
    condition = again.condition("Succeeded")
    assert condition["reason"] == Reason.ALREADY_TRAINED
    assert first.uid in condition["message"]
    assert again.jobs_ever() == set()
    assert [record["runUid"] for record in records_of(again)] == [first.uid]


@pytest.mark.parametrize("change", [{"rerunPolicy": "Always"}, {"rerun": "2"}, {"hyperparameters": {"a": 1}}], ids=str)
def test_it_trains_again_where_that_is_asked_for(stage: Scene, change: Wire) -> None:
    git, first = finished(stage, f"wanted-{''.join(change).lower()}")
    prune(first, "Background")
    first.wait_gone()
    again = FLUX.apply(stage, git.commit(**change))
    again.wait_running(launch=1)
    assert len(again.jobs_ever()) == 1


# -- time to live -----------------------------------------------------------------------------------------------------


def test_the_time_to_live_ends_children_and_never_the_object(stage: Scene) -> None:
    git, run = finished(stage, "short-lived", ttlSecondsAfterFinished=1)
    run.wait_for(lambda: not run.jobs() and not run.pods(), what="its children are gone")
    run.wait_settled()
    assert run.decisions[-1]["reason"] == Reason.TTL_EXPIRED

    FLUX.apply(stage, git.manifest)
    run.assert_quiet()
    assert (run.status["phase"], run.status["launch"]) == (Phase.SUCCEEDED, 1)
    assert len(run.jobs_ever()) == 1, "a sync has nothing to create again, so nothing trains again"
    assert FLUX.diff(stage, git.manifest) == ""
