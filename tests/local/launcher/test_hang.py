"""A hang: no progress for longer than the phase allows. Stacks are taken, the process is killed and started again."""

from __future__ import annotations

import pytest

from tests.local.launcher.conftest import Bench

SHORT_LIMITS = {"starting": 20.0, "training": 1.0, "validating": 60.0, "checkpointing": 60.0, "testing": 60.0}

HANGS_ONCE = """
import os, pathlib, signal, time
from trainmaster_launcher.sdk import connect
session = connect()
mark = pathlib.Path(__file__ + ".hung")
def stand_still():
    HANG
for step in range(3):
    session.progress(PHASE, step=step)
if not mark.exists():
    mark.touch()
    stand_still()
session.done()
"""


@pytest.mark.parametrize(
    ("hang", "evidence"),
    [("time.sleep(600)", "in stand_still"), ("os.kill(os.getpid(), signal.SIGSTOP)", "State: T (stopped)")],
    ids=["sleeps", "stopped"],
)
def test_a_hung_process_is_killed_and_started_again_and_its_stack_is_kept(
    bench: Bench, *, hang: str, evidence: str
) -> None:
    program = HANGS_ONCE.replace("HANG", hang).replace("PHASE", "'training'")
    plan = bench.plan(program, hangLimits=SHORT_LIMITS)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0
    [crash] = server.of_type("crash")
    assert crash["crash"]["kind"] == "hang"
    assert crash["crash"]["phase"] == "training"
    assert evidence in crash["crash"]["stack"]


def test_each_phase_has_its_own_limit(bench: Bench) -> None:
    program = HANGS_ONCE.replace("HANG", "time.sleep(1.5)").replace("PHASE", "'validating'")
    plan = bench.plan(program, hangLimits=SHORT_LIMITS)
    server = bench.serve(plan)
    assert bench.start(plan, url=server.url).wait() == 0
    assert server.of_type("crash") == []


def test_a_process_without_the_sdk_is_never_judged(bench: Bench) -> None:
    plan = bench.plan("import time; time.sleep(1.5)", hangLimits=dict.fromkeys(SHORT_LIMITS, 0.2))
    server = bench.serve(plan)
    assert bench.start(plan, url=server.url).wait() == 0
    assert server.of_type("crash") == []


def test_a_process_that_said_done_and_does_not_end_is_ended_and_its_verdict_stands(bench: Bench) -> None:
    program = "import time; from trainmaster_launcher.sdk import connect; connect().done(); time.sleep(600)"
    plan = bench.plan(program, hangLimits=SHORT_LIMITS | {"checkpointing": 0.5})
    launcher = bench.start(plan, url=bench.serve(plan).url)
    assert launcher.wait() == 0
    assert launcher.termination["verdict"]["outcome"] == "Completed"
