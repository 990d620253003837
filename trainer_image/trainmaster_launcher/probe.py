"""A training that trains nothing and crashes once: what `trainmaster selftest` runs to see the whole way work."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from trainmaster_launcher.plan import working_root
from trainmaster_launcher.sdk import connect

STEPS: Final = 5
CRASH_BEFORE: Final = 3


def main() -> None:
    """Count to `STEPS`, with one crash on the way, and go on from where it was."""
    session = connect()
    plan = json.loads(os.environ["TRAINMASTER_PLAN"])
    mark = working_root(plan) / str(plan["launch"]) / "probe-step"
    start = int(mark.read_text()) if mark.exists() else 0
    for step in range(start, STEPS):
        session.progress("training", step=step, total_steps=STEPS)
        if step == CRASH_BEFORE and start == 0:
            mark.write_text(str(step))
            sys.exit("the crash that was planned")
        session.point("validation", step=step, metrics={"val_loss": 1 / (step + 1)})
    session.done(message="the probe has counted")


if __name__ == "__main__":
    main()
