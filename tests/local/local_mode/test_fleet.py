"""Many runs in one command, each with a fate of its own: how it ends, what is said, and what is left of it.

One session drives them all, on fewer cores than they want together; the tests look at what came out.
"""

from __future__ import annotations

import fcntl
import json
import pickle
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.local_mode import PATIENCE_SECONDS, empty_mlflow_database, wait_for
from tests.support.shell import Shell, Wire, condition

WATCH = """
    import json, os, sys, time
    from pathlib import Path
    from trainmaster_launcher.sdk import connect

    def stored(name):
        return json.loads((Path(sys.argv[1]) / "objects" / "default" / f"{name}.json").read_text())["status"]
"""
"""A training program that can look at its own stored status, so that no test depends on how fast anything is."""
GOOD = """
    from trainmaster_launcher.sdk import connect
    session = connect()
    for step in range(1, 4):
        session.progress("training", step=step, total_steps=3)
        session.point("validation", step=step, metrics={"val_loss": 1 / step})
    session.done(message="three steps")
"""
EXPLODING = (
    WATCH
    + """
    session, name = connect(), sys.argv[2]
    rate, step = session.plan["hyperparameters"]["learning_rate"], 0
    while rate > 0.3 and not (name != "heal" and stored(name).get("progress", {}).get("step", 0) > 5):
        for directive in session.due(step):
            print("learning rate", rate, "->", directive.set["learning_rate"], "at", step)
            rate = directive.set["learning_rate"]
            session.applied(directive, step=step)
        session.progress("training", step=step)
        session.point("train", step=step, metrics={"grad_norm": 1000 * rate})
        step += 1
        time.sleep(0.02)
    session.done()
"""
)
BAD_CONFIGURATION = """
    import sys
    print("reading bars.csv", file=sys.stderr)
    print("bars.csv, line 7: close is not a number", file=sys.stderr)
    sys.exit(78)
"""
CRASH_LOOP = """
    raise ValueError("always the same")
"""
CRASHES_ON_THE_WAY = """
    import os, sys
    from pathlib import Path
    from trainmaster_launcher.sdk import connect
    session = connect()
    mark = Path(session.plan["storage"]["root"]) / str(session.plan["launch"]) / "step"
    step = int(mark.read_text()) + 1 if mark.exists() else 1
    mark.write_text(str(step))
    session.progress("training", step=step, total_steps=100)
    session.point("train", step=step, metrics={"loss": 1.0})
    sys.exit(f"crash at step {step}")
"""
STRAY = """
    import subprocess, sys
    from pathlib import Path
    from trainmaster_launcher.sdk import connect
    children = [
        subprocess.Popen(["setsid", "nohup", "sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
        subprocess.Popen(["sleep", "600"]),
    ]
    connect().done()
"""
SLEEP = """
    import time
    time.sleep(600)
"""


@dataclass
class Fleet:
    """What came out of the session."""

    shell: Shell
    exit_code: int
    stdout: str
    stderr: str
    phases: dict[str, set[str]] = field(default_factory=dict)

    def status(self, name: str) -> Wire:
        items = {item["metadata"]["name"]: item["status"] for item in json.loads(self.stdout)["items"]}
        found: Wire = items[name]
        return found

    def verdict(self, name: str) -> tuple[str, str]:
        status = self.status(name)
        return status["phase"], condition(status)["reason"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Fleet:
    """Driven once, however many workers there are."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    result = shared / "fleet.pickle"
    with (shared / "fleet.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            result.write_bytes(pickle.dumps(_drive(shared / "fleet")))
    fleet: Fleet = pickle.loads(result.read_bytes())
    return fleet


def _drive(folder: Path) -> Fleet:
    folder.mkdir()
    shell = Shell(folder)
    shell.state.mkdir()
    shutil.copy(empty_mlflow_database(), shell.state / "mlflow.db")
    state, rate = str(shell.state), {"learning_rate": 0.4}
    crashes: Wire = {"budgets": {"crashes": 1}}
    files = [
        shell.manifest("heal", EXPLODING, state, "heal", hyperparameters=rate),
        shell.manifest("observe", EXPLODING, state, "observe", hyperparameters=rate, recovery={"mode": "Observe"}),
        shell.manifest("off", EXPLODING, state, "off", hyperparameters=rate, recovery={"mode": "Off"}),
        shell.manifest("budget", CRASHES_ON_THE_WAY, recovery=crashes),
        shell.manifest("good", GOOD),
        shell.manifest("configuration", BAD_CONFIGURATION),
        shell.manifest("missing", "", command=["no-such-program", "--flag"]),
        shell.manifest("loop", CRASH_LOOP),
        shell.manifest("stray", STRAY),
        shell.manifest("deadline", SLEEP, activeDeadlineSeconds=1),
        shell.manifest("brief", GOOD, ttlSecondsAfterFinished=0),
    ]
    names = [file.removesuffix(".yaml") for file in files]
    phases: dict[str, set[str]] = {name: set() for name in names}

    def over() -> bool:
        for name in names:
            phases[name].add(shell.status(name).get("phase", ""))
        return session.process.poll() is not None

    with shell.typing("local", "run", *files, "--cpus", "4", "-o", "json") as session:
        # Eleven runs, and at the end all that MLflow lacks, which the session itself waits for.
        wait_for(over, what="the session to end", seconds=3 * PATIENCE_SECONDS)
    return Fleet(
        shell=shell,
        exit_code=session.process.returncode,
        stdout=session.stdout,
        stderr=session.stderr,
        phases=phases,
    )


def test_one_failure_fails_the_command(fleet: Fleet) -> None:
    assert fleet.exit_code == 1, fleet.stderr


def test_standard_output_is_the_final_objects_and_nothing_else(fleet: Fleet) -> None:
    printed = json.loads(fleet.stdout)
    assert (printed["apiVersion"], printed["kind"]) == ("v1", "List")
    assert [item["metadata"]["name"] for item in printed["items"]][:3] == ["heal", "observe", "off"]
    for item in printed["items"]:
        assert item == fleet.shell.object(item["metadata"]["name"])


def test_runs_wait_for_cores_and_say_so(fleet: Fleet) -> None:
    assert "Queued" in set().union(*fleet.phases.values())
    assert all(fleet.status(name)["startTime"] for name in fleet.phases if name != "missing")


def test_lines_of_several_runs_are_told_apart(fleet: Fleet) -> None:
    assert "good: Completed: three steps" in fleet.stderr
    assert "good: Training: 100% 3/3 [" in fleet.stderr


def test_a_good_run_succeeds_and_is_tracked(fleet: Fleet) -> None:
    assert fleet.verdict("good") == ("Succeeded", "Completed")
    status = fleet.status("good")
    assert status["metrics"]["val_loss"] == "0.333333"
    assert status["mlflow"]["runId"]
    assert (status["crashes"], status["disruptions"], status["launch"]) == (0, 0, 1)


def test_an_explosion_is_decided_on_record_applied_and_acknowledged(fleet: Fleet) -> None:
    assert fleet.verdict("heal") == ("Succeeded", "Completed")
    status = fleet.status("heal")
    [adjust] = [d for d in status["decisions"] if d["kind"] == "Adjust"]
    assert (adjust["state"], adjust["reason"], adjust["target"]) == (
        "Done",
        "GradientExplosion",
        {"learning_rate": "0.2"},
    )
    [directive] = status["plan"]["directives"]
    assert directive["atStep"] == adjust["appliedStep"] > adjust["observedStep"]
    assert f"learning rate 0.4 -> 0.2 at {adjust['appliedStep']}" in fleet.shell.log("heal")
    assert [attempt["corrections"] for attempt in status["attempts"]] == [[], ["learning_rate 0.4 -> 0.2"]]
    assert status["heals"] == 1
    uid = fleet.shell.object("heal")["metadata"]["uid"]
    root = fleet.shell.state / "volumes" / "checkpoints" / uid / "0" / "1"
    recorded = [json.loads(line) for line in (root / "intents.jsonl").read_text().splitlines()]
    assert [(each["directive"], each["step"]) for each in recorded] == [(adjust["id"], adjust["appliedStep"])]


def test_mode_observe_writes_down_what_it_would_do_and_does_nothing(fleet: Fleet) -> None:
    status = fleet.status("observe")
    [adjust] = [d for d in status["decisions"] if d["kind"] == "Adjust"]
    assert (adjust["state"], adjust["target"]) == ("Observed", {"learning_rate": "0.2"})
    assert status["heals"] == 0
    assert status["plan"]["directives"] == []
    assert "learning rate" not in fleet.shell.log("observe")


def test_mode_off_looks_for_nothing(fleet: Fleet) -> None:
    status = fleet.status("off")
    assert status["phase"] == "Succeeded"
    assert [d["kind"] for d in status["decisions"]] == ["Launch", "Record"]
    assert "health" not in status


def test_bad_configuration_fails_at_once_with_its_last_line(fleet: Fleet) -> None:
    assert fleet.verdict("configuration") == ("Failed", "InvalidConfiguration")
    status = fleet.status("configuration")
    assert "bars.csv, line 7: close is not a number" in condition(status)["message"]
    assert (status["launch"], status["crashes"]) == (1, 0)


def test_a_command_that_is_not_there_fails_at_once_by_name(fleet: Fleet) -> None:
    assert fleet.verdict("missing")[0] == "Failed"
    assert "no-such-program" in condition(fleet.status("missing"))["message"]
    assert fleet.status("missing")["launch"] == 1


def test_the_same_crash_before_the_first_step_is_permanent(fleet: Fleet) -> None:
    assert fleet.verdict("loop") == ("Failed", "RepeatedCrash")
    assert "ValueError: always the same" in condition(fleet.status("loop"))["message"]
    assert fleet.status("loop")["crashes"] == 2


def test_crashes_are_paid_from_the_budget(fleet: Fleet) -> None:
    assert fleet.verdict("budget") == ("Failed", "CrashBudgetExhausted")
    status = fleet.status("budget")
    assert status["crashes"] == 2
    assert "crash at step 2" in condition(status)["message"]


def test_a_deadline_ends_a_run(fleet: Fleet) -> None:
    assert fleet.verdict("deadline") == ("Failed", "ActiveDeadlineExceeded")
    [end] = [d for d in fleet.status("deadline")["decisions"] if d["kind"] == "EndLaunch"]
    assert (end["state"], end["reason"]) == ("Done", "ActiveDeadlineExceeded")


def test_what_a_finished_run_left_is_cleaned_up_when_its_time_has_come(fleet: Fleet) -> None:
    status = fleet.status("brief")
    assert status["phase"] == "Succeeded"
    [clean_up] = [d for d in status["decisions"] if d["kind"] == "CleanUp"]
    assert clean_up["state"] == "Done"


def test_no_process_of_any_run_is_left(fleet: Fleet) -> None:
    assert fleet.verdict("stray") == ("Succeeded", "Completed")
    assert fleet.shell.marked() == []
