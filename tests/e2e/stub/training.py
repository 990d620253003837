"""Training for tests of pods: descends a parabola at a set pace, and does on the way what its hyperparameters say.

First it prints when launcher, process and training started, and when what was done was done: seconds since 1970.
It validates after every step: its numbers are in status as soon as status is written. Each step says how many seconds
the one before it took, with all that it reported and saved.

`steps`, `seconds_per_step`, `learning_rate`; once per run, when a step is reached: `crash_at`, `hang_at`, `exhaust_at`
(takes memory until it is killed), `fill_at` (takes memory that is no process' own, until the launcher is killed, too);
`exit_code` with `exit_at`. It saves at every step and goes on from there.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from trainmaster_launcher.sdk import connect

plan = json.loads(os.environ["TRAINMASTER_PLAN"])
wanted = plan["hyperparameters"]
root, launch = Path(plan["storage"]["root"]), str(plan["launch"])
saved = max(root.glob("*/state.json"), key=lambda path: int(path.parent.name), default=None)
state: dict[str, Any] = (
    json.loads(saved.read_text()) if saved else {"step": 0, "weight": 5.0, "done": {}, "applied": {}}
)
session = connect(applied=state["applied"])
steps, rate, weight = int(wanted.get("steps", 20)), float(wanted.get("learning_rate", 0.1)), state["weight"]


def process_started(process: str) -> float:
    """When a process of the pod started."""
    ticks = int(Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def save() -> None:
    state["weight"], state["applied"] = weight, session.applied_directives
    (root / launch / "state.tmp").write_text(json.dumps(state))
    (root / launch / "state.tmp").replace(root / launch / "state.json")


def due(event: str, step: int) -> bool:
    """Whether an event is to happen now; it is written down first, so that it happens once."""
    if event in state["done"] or step != int(wanted.get(event, -1)):
        return False
    state["done"][event] = time.time()
    save()
    return True


said = {"started": time.time(), "launcher": process_started("1"), "process": process_started("self")}
said |= {"done": state["done"]}
print(json.dumps(said), flush=True)  # noqa: T201  # read from the pod's log
began = time.monotonic()
for step in range(state["step"], steps):
    for directive in session.due(step):
        rate = float(directive.set.get("learning_rate", rate))
        session.applied(directive, step=step)
    session.progress("training", step=step, total_steps=steps)
    if due("crash_at", step):
        raise RuntimeError("told to crash")
    if due("exit_at", step):
        os._exit(int(wanted["exit_code"]))
    if due("hang_at", step):
        time.sleep(86_400)
    if due("exhaust_at", step):
        taken = [bytearray(os.urandom(1 << 20)) for _ in range(1 << 20)]
    if due("fill_at", step):
        with Path("/dev/shm/full").open("wb") as file:  # the pod's own memory
            while True:
                file.write(bytes(1 << 20))
    took, began = time.monotonic() - began, time.monotonic()
    session.point("train", step=step, metrics={"loss": weight**2, "grad_norm": abs(2 * weight), "step_seconds": took})
    weight -= rate * 2 * weight
    session.point("validation", step=step, metrics={"val_loss": weight**2})
    state["step"] = step + 1
    save()
    time.sleep(float(wanted.get("seconds_per_step", 0)))

session.done(metrics={"loss": weight**2})
