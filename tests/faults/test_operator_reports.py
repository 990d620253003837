"""Reports that are late, doubled, out of order or rubbish change nothing that they should not.

Cases 30, 31, 32 and 35 of the fault catalogue, over HTTP and with tokens that the API server has made for the pods.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.support.pod_reporter import Launcher, crash, point
from tests.support.scene import Run, Scene
from trainmaster.api.protocol import MAX_REPORT_BYTES

Wire = dict[str, Any]


def running(stage: Scene, name: str) -> Run:
    run = stage.create(name)
    run.wait_running(launch=1)
    return run


def test_30_a_zombie_of_an_old_launch_is_told_that_it_is_one(stage: Scene) -> None:
    run = running(stage, "zombie")
    old = Launcher(run, launch=1)
    assert old.report(point(1))[0] == 200
    run.finish(launch=1, exit_code=1)
    run.wait_running(launch=2)
    new = Launcher(run, launch=2)
    assert new.report(point(1), step=5)[0] == 200

    assert old.report(point(2), step=99)[0] == 410
    assert old.report(point(2), step=99, launch=2)[0] == 403, "its token is of launch 1"

    run.finish(launch=2)
    run.wait_ended("Succeeded", launches=2)
    assert run.status["progress"]["step"] == 5
    stage.assert_lawful()


def test_07_30_a_token_of_an_object_that_is_gone_says_nothing_about_its_successor(stage: Scene) -> None:
    old = running(stage, "replaced")
    zombie = Launcher(old, launch=1)
    assert zombie.report(point(1))[0] == 200
    hold = {"metadata": {"annotations": {"test.trainmaster.io/hold": "yes"}}}
    path = f"/api/v1/namespaces/{stage.namespace}/pods/{old.pods(1)[0]['metadata']['name']}"
    assert stage.plane.request("PATCH", path, hold).status == 200
    old.delete()
    old.wait_for(lambda: not old.wire, what="gone")
    new = running(stage, "replaced")

    assert zombie.report(point(2), step=99)[0] == 410
    assert zombie.report(point(2), step=99, runUid=new.uid)[0] == 403

    assert "progress" not in new.status
    free = {"metadata": {"annotations": {"test.trainmaster.io/hold": None}}}
    assert stage.plane.request("PATCH", path, free).status == 200
    stage.assert_lawful()


def test_31_a_report_that_comes_twice_counts_once(stage: Scene) -> None:
    run = running(stage, "doubled-report")
    launcher = Launcher(run, launch=1)

    answers = [launcher.report(point(1), crash(2)) for _ in range(2)]

    assert [status for status, _ in answers] == [200, 200]
    assert [reply["haveSeq"] for _, reply in answers] == [2, 2]
    run.wait_for(lambda: run.status.get("crashes") == 1, what="one crash")
    run.wait_settled()
    run.assert_quiet()
    assert run.status["crashes"] == 1
    stage.assert_lawful()


def test_32_reports_out_of_order_are_put_in_order_and_late_ones_reopen_nothing(stage: Scene) -> None:
    run = running(stage, "late-report")
    launcher = Launcher(run, launch=1)
    assert launcher.report(point(2, step=2), step=2)[1]["haveSeq"] == 0, "a gap is never acknowledged past"
    assert launcher.report(point(1, step=1), step=1)[1]["haveSeq"] == 2
    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    ended = run.status["completionTime"]

    for entry in (point(3, step=3), crash(4), point(5, loss="NaN")):
        launcher.report(entry, step=3)

    run.wait_for(lambda: (run.status["crashes"], run.status["progress"]["step"]) == (1, 3), what="all of it is known")
    run.assert_quiet()
    assert (run.status["phase"], run.status["completionTime"]) == ("Succeeded", ended)
    assert len(run.jobs_ever()) == 1
    stage.assert_lawful()


ODD_NUMBERS: list[float | str] = [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, "NaN", "Infinity"]


def test_35_odd_numbers_never_make_a_status_that_cannot_be_written(stage: Scene) -> None:
    run = running(stage, "odd-numbers")
    launcher = Launcher(run, launch=1)
    accepted = 0
    for seq, value in enumerate(ODD_NUMBERS, 1):
        entry = point(accepted + 1, step=seq, loss=value) | {"kind": "validation"}
        status, _ = launcher.report(entry, step=seq)
        assert status in {200, 422}, value
        accepted += status == 200
    assert accepted > 0
    assert launcher.report(point(accepted + 1, step=1, **{"never/heard-of": 1.0}), step=1)[0] == 200, "a step back"

    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    assert run.status["progress"]["step"] == 1
    assert run.status["metrics"]["loss"]
    stage.assert_lawful()


RUBBISH = {
    "no JSON": b"{",
    "no object": b"[]",
    "no UTF-8": b'{"runUid": "\xff"}',
    "nested too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH)
def test_35_rubbish_is_refused_with_a_reason(stage: Scene, body: bytes) -> None:
    run = running(stage, f"rubbish-{len(body)}")

    status, said = Launcher(run, launch=1).send(body)

    assert status == 422
    assert said["message"]
    assert stage.operator.get("/healthz")[0] == 200
    stage.assert_lawful()


def test_35_fields_that_are_wrong_are_named_and_too_much_is_refused(stage: Scene) -> None:
    run = running(stage, "wrong-fields")
    launcher = Launcher(run, launch=1)

    status, said = launcher.report(step=-1)
    assert (status, said["message"].split(":")[0]) == (422, "step")
    assert launcher.send(b" " * (MAX_REPORT_BYTES + 1))[0] == 413
    assert launcher.report(protocol=99)[0] == 426

    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    stage.assert_lawful()
