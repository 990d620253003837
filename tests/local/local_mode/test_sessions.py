"""One run over several commands: interrupted, refused, suspended, killed, run anew."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import yaml

from tests.support.local_mode import wait_for
from tests.support.shell import Shell, condition

COUNT = """
    import json, os, sys
    from pathlib import Path
    from trainmaster_launcher.sdk import connect
    session = connect()
    root, launch = Path(session.plan["storage"]["root"]), str(session.plan["launch"])
    print("factor", session.plan["hyperparameters"]["factor"], "in", root.name)
    for step in range(1, 6):
        session.progress("training", step=step, total_steps=5)
        session.point("validation", step=step, metrics={"val_loss": session.plan["hyperparameters"]["factor"] / step})
    session.done(message="counted")
"""
WAIT = """
    import time
    from trainmaster_launcher.sdk import connect
    session = connect()
    print("waiting", flush=True)
    for step in range(100_000):
        session.progress("training", step=step)
        time.sleep(0.05)
"""
DEAF = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    time.sleep(600)
"""
NOBODY = "http://127.0.0.1:1"
"""No server listens on port 1."""


def history(shell: Shell) -> list[tuple[str, int, float]]:
    """All that MLflow has of the metric `val_loss`, by run and step."""
    with closing(connect(shell.state / "mlflow.db")) as database:
        return database.execute(
            "select run_uuid, step, value from metrics where key = 'val_loss' order by run_uuid, step"
        ).fetchall()


def delete(shell: Shell, name: str) -> str:
    """Delete a run, as a user of local mode can; its UID."""
    uid = str(shell.object(name)["metadata"]["uid"])
    (shell.state / "objects" / "default" / f"{name}.json").unlink()
    return uid


def test_unreachable_tracking_then_done_then_changed_then_run_anew(shell: Shell) -> None:
    file = shell.manifest("count", COUNT, hyperparameters={"factor": 1})

    first = shell.type("local", "run", file, "--tracking-uri", NOBODY)
    assert first.returncode == 0, first.stderr
    assert "metrics are kept and sent later" in first.stderr
    assert "5 points wait for the tracking server; they are kept, the same command sends them later" in first.stderr

    again = shell.type("local", "run", file, "-o", "yaml")
    assert again.returncode == 0, again.stderr
    assert "Finished: Succeeded already (Completed" in again.stderr
    printed = yaml.safe_load(again.stdout)
    assert printed == shell.object("count")
    status = printed["status"]
    assert (status["launch"], status["progress"]["totalSteps"]) == (1, 5)
    assert [(step, value) for _, step, value in history(shell)] == [(step, 1 / step) for step in range(1, 6)]
    assert status["mlflow"]["runId"] == history(shell)[0][0]

    changed = shell.manifest("count", COUNT, hyperparameters={"factor": 2})
    refused = shell.type("local", "run", changed)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "spec.hyperparameters is immutable" in refused.stderr
    assert "metadata.name" in refused.stderr
    assert "spec.rerun" in refused.stderr
    assert shell.object("count") == printed

    anew = shell.manifest("count", COUNT, hyperparameters={"factor": 2}, rerun="again")
    rerun = shell.type("local", "run", anew)
    assert rerun.returncode == 0, rerun.stderr
    status = shell.status("count")
    assert (status["launch"], status["reruns"], status["crashes"], status["phase"]) == (2, 1, 0, "Succeeded")
    assert (status["plan"]["generation"], status["plan"]["baseGeneration"]) == (2, 2)
    assert shell.log("count").count("factor 2 in 1") == 1
    checkpoints = shell.state / "volumes" / "checkpoints" / shell.object("count")["metadata"]["uid"]
    assert sorted(path.name for path in checkpoints.iterdir()) == ["0", "1"]
    assert len({run for run, _, _ in history(shell)}) == 2
    assert len(history(shell)) == 10
    told = [record["spec"] for record in shell.records("count")]
    assert [(record["reruns"], record["rerun"], record["launches"]) for record in told] == [(0, "", 1), (1, "again", 2)]
    assert [record["metrics"] for record in told] == [{"val_loss": "0.2"}, {"val_loss": "0.4"}]
    assert len({record["specHash"] for record in told}) == 2
    assert {(d["kind"], d["state"]) for d in status["decisions"] if "record" not in d} >= {("Record", "Done")}


def test_a_run_that_was_deleted_and_is_created_again_takes_over_its_result(shell: Shell) -> None:
    file = shell.manifest("count", COUNT, hyperparameters={"factor": 1})
    assert shell.type("local", "run", file).returncode == 0
    [record] = shell.records("count")
    assert record["metadata"]["labels"]["trainmaster.io/run-uid"] == shell.object("count")["metadata"]["uid"]
    assert "ownerReferences" not in record["metadata"] or record["metadata"]["ownerReferences"] == []
    uid = delete(shell, "count")

    again = shell.type("local", "run", file)
    assert again.returncode == 0, again.stderr
    status = shell.status("count")
    assert shell.object("count")["metadata"]["uid"] != uid
    assert (status["phase"], status["launch"], status["metrics"]) == ("Succeeded", 0, {"val_loss": "0.2"})
    assert condition(status)["reason"] == "AlreadyTrained"
    assert uid in condition(status)["message"]
    assert "AlreadyTrained" in again.stderr
    described = shell.type("local", "describe", "count")
    assert (described.returncode, "AlreadyTrained" in described.stdout) == (0, True), described.stderr
    assert shell.records("count") == [record]

    rerun = shell.type("local", "run", shell.manifest("count", COUNT, hyperparameters={"factor": 1}, rerun="again"))
    assert rerun.returncode == 0, rerun.stderr
    assert (shell.status("count")["launch"], shell.status("count")["reruns"]) == (1, 1)
    assert len(shell.records("count")) == 2


def test_an_unreadable_record_is_named_and_no_reason_not_to_train(shell: Shell) -> None:
    file = shell.manifest("count", COUNT, hyperparameters={"factor": 1})
    path = shell.state / "records" / "default" / "count-0.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    trained = shell.type("local", "run", file)
    assert trained.returncode == 0, trained.stderr
    assert f"{path} is no readable RunRecord" in trained.stderr


def test_suspended_by_its_manifest_and_resumed(shell: Shell) -> None:
    held = shell.manifest("count", COUNT, hyperparameters={"factor": 1}, suspend=True)
    suspended = shell.type("local", "run", held)
    assert suspended.returncode == 1
    assert "count: suspended by its manifest; set spec.suspend to false to go on." in suspended.stderr
    status = shell.status("count")
    assert (status["phase"], status["launch"]) == ("Suspended", 0)
    assert condition(status, "Suspended")["status"] == "True"
    resumed = shell.type("local", "run", shell.manifest("count", COUNT, hyperparameters={"factor": 1}))
    assert resumed.returncode == 0, resumed.stderr
    assert shell.status("count")["phase"] == "Succeeded"


def test_two_sessions_a_follower_and_a_kill(shell: Shell) -> None:
    file = shell.manifest("wait", WAIT)
    with shell.typing("local", "run", file) as session:
        wait_for(lambda: "waiting" in _log(shell, "wait"), what="the training to run")
        second = shell.type("local", "run", file)
        assert second.returncode == 2
        assert f"default/wait is being run already, by process {session.process.pid}" in second.stderr
        assert session.process.poll() is None
        assert "(unattended)" not in shell.type("local", "get").stdout

        follower = Shell(shell.folder)
        with follower.typing("local", "logs", "-f", "wait") as logs:
            wait_for(lambda: "waiting" in logs.stdout, what="the follower to follow")
            session.process.kill()
            assert logs.wait() == 0
            assert "launcher: launch 1 ends: Retry" in logs.stdout
    seen = shell.type("local", "get", "wait").stdout
    assert "Running (unattended)" in seen
    assert "nobody drives it; run it again to go on" in shell.type("local", "describe", "wait").stdout


def _log(shell: Shell, name: str) -> str:
    return shell.log(name) if shell.status(name) else ""


def test_ctrl_c_twice_ends_what_does_not_listen(shell: Shell) -> None:
    file = shell.manifest("deaf", DEAF, terminationGracePeriodSeconds=3600)
    with shell.typing("local", "run", file) as session:
        wait_for(lambda: "deaf" in _log(shell, "deaf"), what="the training to run")
        session.process.send_signal(signal.SIGINT)
        wait_for(lambda: "once more to stop at once" in session.stderr, what="the first Ctrl-C to be heard")
        assert session.process.poll() is None
        session.process.send_signal(signal.SIGINT)
        assert session.wait() == 130
        assert shell.marked() == []
    status = shell.status("deaf")
    assert (status["phase"], status["crashes"]) == ("Suspended", 0)


def test_a_killed_session_leaves_a_queued_job_that_the_next_one_sees_to(shell: Shell) -> None:
    wait = shell.manifest("wait", WAIT, resources={"cpu": 2})
    count = shell.manifest("count", COUNT, hyperparameters={"factor": 1}, resources={"cpu": 2})
    with shell.typing("local", "run", wait, count, "--cpus", "2") as session:
        wait_for(lambda: shell.status("count").get("phase") == "Queued", what="the second run to be queued")
        session.process.kill()
    done = shell.type("local", "run", count)
    assert done.returncode == 0, done.stderr
    status = shell.status("count")
    assert (status["phase"], status["crashes"], status["disruptions"]) == ("Succeeded", 0, 1)


def test_a_refused_run_keeps_the_others_of_its_command_from_being_stored(shell: Shell) -> None:
    first = shell.manifest("first", COUNT, hyperparameters={"factor": 1})
    assert shell.type("local", "run", first).returncode == 0
    shell.manifest("first", COUNT, hyperparameters={"factor": 2})
    second = shell.manifest("second", COUNT, hyperparameters={"factor": 1})
    refused = shell.type("local", "run", second, first)
    assert refused.returncode == 2
    assert not (shell.state / "objects" / "default" / "second.json").exists()


def test_a_damaged_series_is_refused_before_anything_is_started(shell: Shell) -> None:
    file = shell.manifest("count", COUNT, hyperparameters={"factor": 1}, suspend=True)
    assert shell.type("local", "run", file).returncode == 1
    stored = shell.object("count")
    series: Path = shell.state / "series" / stored["metadata"]["uid"] / "0.jsonl"
    series.parent.mkdir(parents=True)
    series.write_text("no JSON\n" + json.dumps({"launch": 1, "have": 0, "ahead": []}) + "\n")
    shell.manifest("count", COUNT, hyperparameters={"factor": 1})
    refused = shell.type("local", "run", file)
    assert refused.returncode == 2
    assert f"{series}, line 1 cannot be read" in refused.stderr
    assert shell.status("count")["launch"] == 0
