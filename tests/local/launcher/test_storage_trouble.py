"""Storage that refuses is told with every report, until it takes again what it refused; training goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.local.launcher.conftest import Bench
from tests.support.report_server import ReportServer

WAITS = """
import pathlib, time
from trainmaster_launcher.sdk import connect
session = connect()
session.progress("training", step=1)
session.point("validation", step=1, metrics={"loss": 1.0})
while not pathlib.Path(__file__ + ".go").exists(): time.sleep(0.02)
session.point("validation", step=2, metrics={"loss": 1.0})
session.progress("training", step=2)
while not pathlib.Path(__file__ + ".end").exists(): time.sleep(0.02)
session.done()
"""
FAILS_TO_SAVE = """
import pathlib, time
from trainmaster_launcher.sdk import connect
session = connect()
session.storage_failed("[Errno 28] No space left \\n on device \\udc80")
while not pathlib.Path(__file__ + ".go").exists(): time.sleep(0.02)
session.checkpoint(path="1/a", step=1, epoch=0, sha256="00", size_bytes=1)
while not pathlib.Path(__file__ + ".end").exists(): time.sleep(0.02)
session.done()
"""


def told(server: ReportServer) -> str:
    """What the newest report says of storage."""
    return str(server.reports[-1].get("storage", "")) if server.reports else ""


def let(program: list[str], *, what: str) -> None:
    """Let the program go on."""
    Path(f"{program[1]}.{what}").touch()


@pytest.mark.parametrize(
    ("in_the_way", "words"),
    [("plan.tmp", "the plan cannot be kept: Is a directory"), ("journal.jsonl", "the journal cannot be written: Is a")],
)
def test_a_launch_says_what_it_cannot_write_and_when_it_can(bench: Bench, in_the_way: str, words: str) -> None:
    plan = bench.plan(WAITS)
    obstacle = bench.root / "1" / in_the_way
    obstacle.mkdir(parents=True)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url, timings={"storage_retry": 0.1})
    server.wait_for(lambda: told(server).startswith(words), what="the words")
    assert "storage" not in server.reports[0], "before it has tried there is nothing to tell"

    obstacle.rmdir()
    let(plan["command"], what="go")
    server.wait_for(lambda: told(server) == "", what="a report without them")
    let(plan["command"], what="end")
    assert launcher.wait() == 0
    assert [point["step"] for point in server.of_type("point")] == [1, 2]
    assert {path.name for path in launcher.folder.iterdir()} >= {"plan.json", "journal.jsonl"}


def test_a_checkpoint_that_could_not_be_written_is_told_until_one_could(bench: Bench) -> None:
    plan = bench.plan(FAILS_TO_SAVE)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    words = "a checkpoint could not be written: [Errno 28] No space left on device ?"
    server.wait_for(lambda: told(server) == words, what="the words")

    let(plan["command"], what="go")
    server.wait_for(lambda: told(server) == "", what="a report without them")
    let(plan["command"], what="end")
    assert launcher.wait() == 0
