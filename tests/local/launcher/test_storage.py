"""What is kept beside the checkpoints, and what a launcher does when it cannot be read or written."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.local.launcher.conftest import Bench
from tests.support.launcher import wait_until

AWAY = "http://127.0.0.1:1/"


def test_while_the_operator_is_away_the_newest_plan_in_storage_counts(bench: Bench) -> None:
    plan = bench.plan(
        "import json, os; print('generation', json.loads(os.environ['TRAINMASTER_PLAN'])['generation'])", launch=3
    )
    for launch, generation in (("1", 4), ("2", 3)):
        (bench.root / launch).mkdir(parents=True)
        stored = plan | {"launch": int(launch), "generation": generation}
        (bench.root / launch / "plan.json").write_text(json.dumps(stored))
    launcher = bench.start(plan, url=AWAY, timings={"flush": 0.1})
    assert launcher.wait() == 0
    assert "generation 4" in launcher.printed.splitlines()
    assert json.loads((launcher.folder / "plan.json").read_text())["launch"] == 3


def test_unreadable_storage_is_waited_for_and_then_another_pod_is_asked_for(bench: Bench) -> None:
    plan = bench.plan("print('started')")
    bench.root.parent.mkdir(parents=True)
    bench.root.write_text("no folder")
    launcher = bench.start(plan, url=AWAY)
    assert launcher.wait() == 75
    assert "started" not in launcher.printed.splitlines()
    assert "unreadable" in launcher.printed


def test_storage_that_comes_late_is_good_enough(bench: Bench) -> None:
    plan = bench.plan("print('started')")
    bench.root.parent.mkdir(parents=True)
    bench.root.write_text("no folder")
    launcher = bench.start(plan, url=AWAY, timings={"storage_wait": 20.0, "flush": 0.1})
    wait_until(lambda: "storage cannot be read" in launcher.printed, what="the first look")
    bench.root.unlink()
    assert launcher.wait() == 0


VALIDATES = """
from trainmaster_launcher.sdk import connect
session = connect()
for step in (1, 2):
    session.point("train", step=step, metrics={"loss": 1.0})
    session.point("validation", step=step, metrics={"loss": 1.0})
session.done()
"""


def test_the_next_launch_reports_what_the_last_one_measured_and_could_not_say(bench: Bench) -> None:
    plan = bench.plan(VALIDATES)
    assert bench.start(plan, url=AWAY, timings={"flush": 0.1}).wait() == 0
    second = bench.plan("", launch=2)
    server = bench.serve(second)
    assert bench.start(second, url=server.url).wait() == 0
    points = [(point["kind"], point["step"]) for point in server.of_type("point")]
    assert points == [("train", 1), ("validation", 1), ("train", 2), ("validation", 2)]


def test_what_the_operator_has_confirmed_is_not_repeated_but_for_validations(bench: Bench) -> None:
    plan = bench.plan(VALIDATES)
    server = bench.serve(plan)
    assert bench.start(plan, url=server.url).wait() == 0
    journal = bench.root / "1" / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"type":"have","seq":6}\n')
    second = bench.plan("", launch=2)
    later = bench.serve(second)
    assert bench.start(second, url=later.url).wait() == 0
    assert {point["kind"] for point in later.of_type("point")} == {"validation"}


def test_a_second_pod_of_the_same_launch_continues_the_numbers(bench: Bench) -> None:
    plan = bench.plan("import pathlib, time\nwhile not pathlib.Path(__file__ + '.go').exists(): time.sleep(0.02)")
    server = bench.serve(plan)
    first = bench.start(plan, url=server.url)
    server.wait_for(lambda: server.of_type("start") != [], what="the start")
    first.signal(signal.SIGTERM)
    assert first.wait() == 75
    with (first.folder / "journal.jsonl").open("a") as file:
        file.write('{"type":"crash","se')
    program = Path(plan["command"][1])
    program.with_name(program.name + ".go").touch()
    assert bench.start(plan, url=server.url).wait() == 0
    assert server.doubled == []
    assert [each["start"] for each in server.of_type("start")] == [1, 2]
    assert sorted(server.entries) == list(range(1, server.have_seq + 1))
