"""Foreign training code under Trainmaster (workload: custom): descends a parabola, no framework needed."""

import json
import os
from pathlib import Path

from trainmaster_launcher.sdk import connect

plan = json.loads(os.environ["TRAINMASTER_PLAN"])
root, launch = Path(plan["storage"]["root"]), str(plan["launch"])
saved = max(root.glob("*/state.json"), key=lambda path: int(path.parent.name), default=None)
state = json.loads(saved.read_text()) if saved else {"step": 0, "weight": 5.0, "lr": None, "applied": {}}
session = connect(applied=state["applied"])
lr = state["lr"] or float(plan["hyperparameters"].get("learning_rate", 0.1))
steps, weight = int(plan["hyperparameters"].get("steps", 100)), state["weight"]

for step in range(state["step"], steps):
    for directive in session.due(step):
        lr = float(directive.set.get("learning_rate", lr))
        session.applied(directive, step=step)
    session.progress("training", step=step, total_steps=steps)
    gradient = 2 * weight
    session.point("train", step=step, metrics={"loss": weight**2, "grad_norm": abs(gradient)})
    weight -= lr * gradient
    state = {"step": step + 1, "weight": weight, "lr": lr, "applied": session.applied_directives}
    (root / launch / "state.tmp").write_text(json.dumps(state))
    (root / launch / "state.tmp").replace(root / launch / "state.json")

session.done(metrics={"loss": weight**2})
