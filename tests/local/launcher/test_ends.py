"""How a launch ends: exit codes, verdicts and termination messages, for every way a training process can end."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.local.launcher.conftest import Bench
from tests.support.launcher import wait_until

DONE = """
from trainmaster_launcher.sdk import connect
session = connect()
session.progress("training", step=3)
session.done(outcome="StoppedEarly", reason="StoppedEarly", message="good enough", metrics={"loss": 0.5})
"""


@pytest.mark.parametrize(
    ("program", "code", "outcome", "reason"),
    [
        ("raise SystemExit(0)", 0, "Completed", "Completed"),
        (DONE, 0, "StoppedEarly", "StoppedEarly"),
        (DONE + "raise SystemExit(3)", 0, "StoppedEarly", "StoppedEarly"),
        (DONE + "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 0, "StoppedEarly", "StoppedEarly"),
        ("raise SystemExit(75)", 75, "Retry", "Disrupted"),
        ("raise SystemExit(78)", 78, "Failed", "InvalidConfiguration"),
        ("raise SystemExit(1)", 1, "Failed", "Crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 1, "Failed", "Crashed"),
    ],
    ids=["exit-0", "done", "done-then-exit-3", "done-then-killed", "exit-75", "exit-78", "exit-1", "segfault"],
)
def test_the_end_of_the_process_gives_verdict_and_exit_code(
    bench: Bench, *, program: str, code: int, outcome: str, reason: str
) -> None:
    plan = bench.plan(program, restartLease=0)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == code
    verdict = launcher.termination["verdict"]
    assert (verdict["outcome"], verdict["reason"]) == (outcome, reason)
    assert [each["verdict"] for each in server.of_type("verdict")] == [verdict]
    assert launcher.termination["lastSeq"] == server.have_seq


def test_the_verdict_on_bad_configuration_says_what_the_process_said(bench: Bench) -> None:
    plan = bench.plan("import sys; print('no column close', file=sys.stderr); sys.exit(78)")
    launcher = bench.start(plan, url=bench.serve(plan).url)
    assert launcher.wait() == 78
    assert launcher.termination["verdict"]["message"] == "no column close"


def test_a_command_that_does_not_exist_is_bad_configuration(bench: Bench) -> None:
    plan = bench.plan("") | {"command": ["/no/such/program"]}
    launcher = bench.start(plan, url=bench.serve(plan).url)
    assert launcher.wait() == 78
    assert "/no/such/program" in launcher.termination["verdict"]["message"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TRAINMASTER_PLAN": ""}, "TRAINMASTER_PLAN is not set"),
        ({"TRAINMASTER_PLAN": "{"}, "no JSON"),
        ({"TRAINMASTER_PLAN": '{"protocol": 7}'}, "speaks protocol 7"),
        ({"TRAINMASTER_PLAN": '{"protocol": 1}'}, "not readable"),
        ({"TRAINMASTER_REPORT_URL": "ftp://host"}, "ftp://host"),
    ],
)
def test_bad_settings_end_with_78_and_say_which(bench: Bench, *, changes: dict[str, str], message: str) -> None:
    plan = bench.plan("")
    launcher = bench.start(plan, url="http://127.0.0.1:1/", **changes)
    assert launcher.wait() == 78
    assert message in launcher.printed


CRASH_ONCE = """
import pathlib, sys
from trainmaster_launcher.sdk import connect
session = connect()
mark = pathlib.Path(__file__ + ".crashed")
for step in range(5):
    session.progress("training", step=step)
if not mark.exists():
    mark.touch()
    print("out of luck", file=sys.stderr)
    sys.exit(9)
session.done()
"""


def test_a_crash_is_reported_and_answered_by_a_restart_in_place(bench: Bench) -> None:
    plan = bench.plan(CRASH_ONCE)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0
    [crash] = server.of_type("crash")
    assert crash["crash"]["kind"] == "exit"
    assert crash["crash"]["code"] == 9
    assert crash["crash"]["lines"][-1] == "out of luck"
    assert crash["crash"]["step"] == 4
    assert [each["start"] for each in server.of_type("start")] == [1, 2]
    assert launcher.termination["crashes"] == 1


def test_output_is_passed_through_from_both_streams(bench: Bench) -> None:
    # One write each: an unbuffered print ends its line by a second one, and both streams go to one file here.
    plan = bench.plan(
        "import sys; sys.stdout.write('to stdout\\n'); sys.stdout.flush(); sys.stderr.write('to stderr\\n')"
    )
    launcher = bench.start(plan, url=bench.serve(plan).url)
    assert launcher.wait() == 0
    assert {"to stdout", "to stderr"} <= set(launcher.printed.splitlines())


ALWAYS_CRASH_LATER = """
import sys, time
from trainmaster_launcher.sdk import connect
session = connect()
for step in range(3):
    session.progress("training", step=step)
session.close()
sys.exit(9)
"""


def test_a_used_up_lease_ends_the_launch(bench: Bench) -> None:
    plan = bench.plan(ALWAYS_CRASH_LATER, restartLease=2)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 1
    assert launcher.termination["verdict"]["reason"] == "Crashed"
    assert len(server.of_type("start")) == 3


def test_the_reply_to_a_crash_renews_the_lease(bench: Bench) -> None:
    plan = bench.plan(CRASH_ONCE, restartLease=0)
    server = bench.serve(plan | {"restartLease": 0})

    def renew(report: dict[str, Any]) -> None:
        if any(entry["type"] == "crash" for entry in report["entries"]):
            server.plan = plan | {"restartLease": 1}

    server.script = renew
    assert bench.start(plan, url=server.url).wait() == 0


def test_the_same_crash_twice_before_the_first_step_is_permanent(bench: Bench) -> None:
    plan = bench.plan("import sys; print('ImportError: nothing', file=sys.stderr); sys.exit(1)", restartLease=50)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 78
    assert launcher.termination["verdict"]["reason"] == "RepeatedCrash"
    assert "ImportError: nothing" in launcher.termination["verdict"]["message"]
    assert len(server.of_type("crash")) == 2


SAVES_ON_SIGTERM = """
import pathlib, signal, sys, time
from trainmaster_launcher.sdk import connect
def save(*_):
    pathlib.Path(__file__ + ".saved").touch()
    sys.exit(CODE)
signal.signal(signal.SIGTERM, save)
session = connect()
session.progress("training", step=1)
while True:
    time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [75, 0, 1, 78])
def test_sigterm_lets_the_process_save_and_asks_for_a_new_pod(
    bench: Bench, *, number: signal.Signals, code: int
) -> None:
    plan = bench.plan(SAVES_ON_SIGTERM.replace("CODE", str(code)))
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    server.wait_for(lambda: server.phase == "training", what="training")
    launcher.signal(number)
    launcher.signal(number)
    assert launcher.wait() == 75
    assert [*bench.workspace.glob("*.saved")] != []
    assert launcher.termination["verdict"]["outcome"] == "Retry"
    assert launcher.termination["verdict"]["reason"] == "Disrupted"


def test_a_process_that_ignores_sigterm_is_killed_within_the_grace_period(bench: Bench) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    plan = bench.plan(program, terminationGraceSeconds=2)
    launcher = bench.start(plan, url=bench.serve(plan).url)
    wait_until(lambda: "deaf" in launcher.printed.splitlines(), what="the process")
    launcher.signal(signal.SIGTERM)
    assert launcher.wait() == 75
    assert launcher.termination["verdict"]["reason"] == "Disrupted"
