# ruff: noqa: INP001 - a file of the chart and no package
"""What the run of `helm test` trains: it descends a parabola for half a minute. Runs in the trainer's image."""

import time

from trainmaster_launcher.sdk import connect

STEPS, PAUSE = 60, 0.5
"""Half a minute: long enough for reports to be seen."""

session = connect()
weight = 5.0
for step in range(STEPS):
    session.progress("training", step=step, total_steps=STEPS)
    session.point("train", step=step, metrics={"loss": weight**2})
    weight -= 0.2 * weight
    time.sleep(PAUSE)
session.done(metrics={"loss": weight**2})
