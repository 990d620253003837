"""Reports: at least once, numbered, through every bad answer; the operator being away never stops training."""

from __future__ import annotations

import json
import socket
import time

from tests.local.launcher.conftest import Bench
from tests.support.launcher import Launcher, alive, wait_until
from tests.support.report_server import ReportServer, Scripted

TRAINS = """
import pathlib, time
from trainmaster_launcher.sdk import connect
session = connect()
for step in range(40):
    session.progress("training", step=step, total_steps=40)
    session.point("train", step=step, metrics={"loss": 1 / (step + 1)})
session.point("validation", step=40, metrics={"loss": 0.1, "bad name": 1})
session.checkpoint(path="1/a.pt", step=40, epoch=1, sha256="00", size_bytes=3)
GATE
session.done()
"""
GATE = "while not pathlib.Path(__file__ + '.go').exists(): time.sleep(0.02)"


def open_gate(bench: Bench) -> None:
    for path in bench.workspace.glob("program-*.py"):
        path.with_name(path.name + ".go").touch()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def steps(server: ReportServer, kind: str) -> list[int]:
    return [point["step"] for point in server.of_type("point") if point["kind"] == kind]


def assert_all_arrived_once(server: ReportServer, launcher: Launcher) -> None:
    assert sorted(server.entries) == list(range(1, launcher.termination["lastSeq"] + 1))
    assert server.doubled == []
    assert steps(server, "train") == list(range(40))
    assert steps(server, "validation") == [40]
    assert len(server.of_type("verdict")) == 1


def test_everything_arrives_once_with_the_token(bench: Bench) -> None:
    plan = bench.plan(TRAINS.replace("GATE", ""))
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0
    assert_all_arrived_once(server, launcher)
    assert set(server.tokens) == {"Bearer secret"}
    assert launcher.termination["checkpoints"][0]["path"] == "1/a.pt"
    [validation] = [point for point in server.of_type("point") if point["kind"] == "validation"]
    assert validation["metrics"] == {"loss": 0.1}


def test_a_server_that_is_away_at_the_start_gets_everything_later(bench: Bench) -> None:
    port = free_port()
    plan = bench.plan(TRAINS.replace("GATE", GATE))
    launcher = bench.start(plan, url=f"http://127.0.0.1:{port}/")
    journal = launcher.folder / "journal.jsonl"
    wait_until(lambda: journal.exists() and b"checkpoint" in journal.read_bytes(), what="training without a server")
    server = bench.serve(plan, port=port)
    server.wait_for(lambda: server.have_seq > 40, what="the backlog")
    open_gate(bench)
    assert launcher.wait() == 0
    assert_all_arrived_once(server, launcher)


def test_a_server_that_never_comes_does_not_stop_training(bench: Bench) -> None:
    plan = bench.plan(TRAINS.replace("GATE", ""))
    launcher = bench.start(plan, url=f"http://127.0.0.1:{free_port()}/", timings={"flush": 0.3})
    assert launcher.wait() == 0
    assert launcher.termination["verdict"]["outcome"] == "Completed"
    assert len(launcher.journal("point")) == 41


def test_a_server_that_loses_its_memory_gets_everything_again(bench: Bench) -> None:
    plan = bench.plan(TRAINS.replace("GATE", GATE))
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    server.wait_for(lambda: server.have_seq > 40, what="all entries")
    server.entries.clear()
    server.wait_for(lambda: server.have_seq > 40, what="all entries again")
    open_gate(bench)
    assert launcher.wait() == 0
    assert_all_arrived_once(server, launcher)


def test_a_server_that_counts_without_gaps_gets_what_is_kept_although_points_were_forgotten(bench: Bench) -> None:
    port = free_port()
    plan = bench.plan(TRAINS.replace("GATE", GATE).replace("40", "3000"))
    launcher = bench.start(plan, url=f"http://127.0.0.1:{port}/")
    journal = launcher.folder / "journal.jsonl"
    wait_until(lambda: journal.exists() and b"checkpoint" in journal.read_bytes(), what="training without a server")
    server = bench.serve(plan, port=port, contiguous=True)
    server.wait_for(lambda: server.of_type("checkpoint") != [], what="the newest entry")
    open_gate(bench)
    assert launcher.wait() == 0
    assert server.have_seq == 1
    assert steps(server, "train") == list(range(1000, 3000))
    assert len(server.of_type("verdict")) == 1


def test_410_ends_the_process_at_once_and_nothing_is_written(bench: Bench) -> None:
    plan = bench.plan("import os; print('pid', os.getpid(), flush=True)" + TRAINS.replace("GATE", GATE))
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    server.wait_for(lambda: server.have_seq > 40, what="training")
    server.script = lambda _report: Scripted(status=410)
    assert launcher.wait() == 75
    pid = int(next(line for line in launcher.printed.splitlines() if line.startswith("pid ")).split()[1])
    assert not alive(pid)
    assert not launcher.termination_log.exists()
    assert launcher.journal("verdict") == []


def test_410_to_the_first_report_starts_nothing(bench: Bench) -> None:
    plan = bench.plan("print('started')")
    server = bench.serve(plan)
    server.script = lambda _report: Scripted(status=410)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 75
    assert "started" not in launcher.printed.splitlines()
    assert not bench.root.exists()


def test_413_halves_the_entries_until_they_fit(bench: Bench) -> None:
    plan = bench.plan(TRAINS.replace("GATE", ""))
    server = bench.serve(plan)
    server.script = lambda report: Scripted(status=413) if len(report["entries"]) > 7 else None
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0
    assert_all_arrived_once(server, launcher)


def test_an_entry_that_is_too_large_alone_is_left_out(bench: Bench) -> None:
    plan = bench.plan(TRAINS.replace("GATE", ""))
    server = bench.serve(plan)
    server.script = lambda report: (
        Scripted(status=413) if any(entry["type"] == "checkpoint" for entry in report["entries"]) else None
    )
    launcher = bench.start(plan, url=server.url, timings={"flush": 5.0})
    assert launcher.wait() == 0
    assert steps(server, "train") == list(range(40))
    assert server.of_type("checkpoint") == []
    assert len(server.of_type("verdict")) == 1


def test_retry_after_is_honoured(bench: Bench) -> None:
    plan = bench.plan(TRAINS.replace("GATE", GATE))
    server = bench.serve(plan)
    times: list[float] = []

    def busy_once(_report: object) -> Scripted | None:
        times.append(time.monotonic())
        return Scripted(status=503, headers={"Retry-After": "1"}) if len(times) == 1 else None

    server.script = busy_once
    launcher = bench.start(plan, url=server.url)
    server.wait_for(lambda: server.have_seq > 40, what="the entries")
    assert times[1] - times[0] >= 1.0
    open_gate(bench)
    assert launcher.wait() == 0
    assert_all_arrived_once(server, launcher)


def test_421_leads_to_the_leader(bench: Bench) -> None:
    plan = bench.plan(TRAINS.replace("GATE", ""))
    leader = bench.serve(plan)
    other = bench.serve(plan)
    other.script = lambda _report: Scripted(status=421, headers={"Location": leader.url})
    launcher = bench.start(plan, url=other.url)
    assert launcher.wait() == 0
    assert_all_arrived_once(leader, launcher)
    assert len(other.reports) == 1


def test_refusals_are_said_once_and_training_goes_on(bench: Bench) -> None:
    plan = bench.plan(TRAINS.replace("GATE", GATE))
    server = bench.serve(plan)
    server.script = lambda _report: Scripted(status=401, body=b"token expired")
    launcher = bench.start(plan, url=server.url)
    server.wait_for(lambda: len(server.reports) > 3, what="retries")
    server.script = lambda _report: None
    server.wait_for(lambda: server.have_seq > 40, what="the backlog")
    open_gate(bench)
    assert launcher.wait() == 0
    assert launcher.printed.count("token expired") == 1
    assert_all_arrived_once(server, launcher)


def test_a_non_finite_metric_is_reported_at_once(bench: Bench) -> None:
    program = """
        import pathlib, time
        from trainmaster_launcher.sdk import connect
        session = connect()
        session.progress("training", step=1)
        session.point("train", step=1, metrics={"loss": float("nan"), "norm": float("inf")})
        while not pathlib.Path(__file__ + '.go').exists(): time.sleep(0.02)
    """
    plan = bench.plan(program)
    server = bench.serve(plan, pace=60)
    launcher = bench.start(plan, url=server.url)
    server.wait_for(lambda: server.of_type("point") != [], what="the point")
    assert server.of_type("point")[0]["metrics"] == {"loss": "NaN", "norm": "Inf"}
    open_gate(bench)
    assert launcher.wait() == 0


def test_replayed_points_are_journalled_once(bench: Bench) -> None:
    program = TRAINS.replace(
        "GATE", "import sys; mark = pathlib.Path(__file__ + '.x')\nif not mark.exists():\n    mark.touch(); sys.exit(5)"
    )
    plan = bench.plan(program)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0
    assert_all_arrived_once(server, launcher)
    assert len(server.of_type("start")) == 2


def test_garbage_on_the_socket_is_ignored_and_said(bench: Bench) -> None:
    program = """
        import os, socket
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(os.environ["TRAINMASTER_SOCKET"])
        raw.sendall(b'nonsense\\n{"type": "point", "kind": "train", "generation": 1, "step": -1}\\n[1]\\n\\xff\\n')
        from trainmaster_launcher.sdk import connect
        session = connect()
        session.point("validation", step=1, metrics={"loss": 1.0})
        session.done()
    """
    plan = bench.plan(program)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0
    assert launcher.printed.count("line ignored") == 4
    assert steps(server, "validation") == [1]


def test_reports_and_last_word_fit_the_api_models(bench: Bench) -> None:
    from trainmaster.api.protocol import Report, TerminationMessage  # noqa: PLC0415 - the launcher must work without it

    plan = bench.plan(TRAINS.replace("GATE", ""))
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0
    reports = [Report.model_validate_json(json.dumps(report)) for report in server.reports]
    assert reports[-1].phase == "done"
    assert TerminationMessage.model_validate_json(launcher.termination_log.read_bytes()).verdict.outcome == "Completed"
