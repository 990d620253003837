"""A directive is delivered, written down, applied, acknowledged: a kill between any two of these changes nothing.

The program steps a number by its knob and keeps a checkpoint at each step, so its last number tells at which step the
directive took effect.
"""

from __future__ import annotations

import json

import pytest

from tests.local.launcher.conftest import Bench
from tests.support.launcher import Wire

PROGRAM = """
import json, os, pathlib, signal, sys, time
from trainmaster_launcher.sdk import connect
here = pathlib.Path(__file__)
marks = {name: here.with_name(name) for name in ("killed", "result", "at")}
state_file = here.with_name("state.json")
state = json.loads(state_file.read_text()) if state_file.exists() else {"step": 0, "value": 0, "knob": 1, "applied": {}}
session = connect(applied=state["applied"])
knob, value = state["knob"], state["value"]

def die(where):
    if DIES_AT == where and not marks["killed"].exists():
        marks["killed"].touch()
        os.kill(os.getpid(), signal.SIGKILL)

def save():
    temporary = here.with_name("state.tmp")
    temporary.write_text(json.dumps(
        {"step": step, "value": value, "knob": knob, "applied": session.applied_directives}))
    temporary.replace(state_file)

for step in range(state["step"], 12):
    if step == 5:
        while not session.plan["directives"]:
            time.sleep(0.01)
        die("delivered")
    for directive in session.due(step):
        die("intended")
        knob = directive.set["knob"]
        if DIES_AT == "applied-and-saved":
            session._applied[directive.id] = step
            save()
            die("applied-and-saved")
        die("applied")
        session.applied(directive, step=step)
        marks["at"].open("a").write(f"{step}\\n")
        die("acknowledged")
    session.progress("training", step=step)
    value = value * 2 + knob
    session.point("train", step=step, metrics={"value": value})
    if step == 2:
        step += 1; save(); step -= 1
    if step == 7:
        die("two steps later")
marks["result"].write_text(f"{value} {session.generation}")
session.done()
"""
DIRECTIVE: Wire = {"id": "d1", "kind": "Adjust", "generation": 2, "set": {"knob": 100}, "reason": "test"}


def value_when_applied_at(applied: int) -> int:
    value = 0
    for step in range(12):
        value = value * 2 + (100 if step >= applied else 1)
    return value


@pytest.mark.parametrize(
    ("kill", "applied_at"),
    [
        ("never", 5),
        # Nothing was on record: the next boundary of the process that starts again is that of its checkpoint.
        ("delivered", 3),
        ("intended", 5),
        ("applied", 5),
        ("applied-and-saved", 5),
        ("acknowledged", 5),
        ("two steps later", 5),
    ],
)
def test_a_directive_takes_effect_at_one_step_whatever_is_killed(bench: Bench, *, kill: str, applied_at: int) -> None:
    plan = bench.plan(PROGRAM.replace("DIES_AT", repr(kill)))
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    server.wait_for(lambda: len(server.of_type("point")) >= 5, what="five steps")
    server.plan = plan | {"generation": 2, "directives": [DIRECTIVE]}
    assert launcher.wait() == 0, launcher.printed
    assert (bench.workspace / "result").read_text() == f"{value_when_applied_at(applied_at)} 2"
    assert [(each["directive"], each["step"]) for each in server.of_type("applied")] == [("d1", applied_at)]
    points = sorted((each["generation"], each["step"]) for each in server.of_type("point"))
    assert points == [(1, step) for step in range(5)] + [(2, step) for step in range(applied_at, 12)]
    intents = [json.loads(line) for line in (launcher.folder / "intents.jsonl").read_text().splitlines()]
    assert intents == [{"directive": "d1", "step": applied_at}]
    assert json.loads((launcher.folder / "plan.json").read_text())["generation"] == 2


def test_the_step_on_record_binds_later_launches_too(bench: Bench) -> None:
    earlier = bench.root / "1"
    earlier.mkdir(parents=True)
    (earlier / "intents.jsonl").write_text('{"directive": "d1", "step": 5}\n{"directive": "d1", "st')
    plan = bench.plan(PROGRAM.replace("DIES_AT", "'never'"), launch=2, generation=2, directives=[DIRECTIVE])
    server = bench.serve(plan)
    assert bench.start(plan, url=server.url).wait() == 0
    assert (bench.workspace / "result").read_text() == f"{value_when_applied_at(5)} 2"


def test_the_operator_may_name_the_step(bench: Bench) -> None:
    plan = bench.plan(PROGRAM.replace("DIES_AT", "'never'"), generation=2, directives=[DIRECTIVE | {"atStep": 9}])
    server = bench.serve(plan)
    assert bench.start(plan, url=server.url).wait() == 0
    assert (bench.workspace / "result").read_text() == f"{value_when_applied_at(9)} 2"


def test_an_older_plan_in_a_reply_is_ignored(bench: Bench) -> None:
    plan = bench.plan(PROGRAM.replace("DIES_AT", "'never'"), generation=2, directives=[DIRECTIVE])
    server = bench.serve(plan | {"generation": 1, "directives": []})
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0
    assert (bench.workspace / "result").read_text() == f"{value_when_applied_at(0)} 2"
    assert json.loads((launcher.folder / "plan.json").read_text())["generation"] == 2
