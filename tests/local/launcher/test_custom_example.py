"""The example of foreign training code: it reports, is restarted, gets a directive, and does not notice a kill."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.local.launcher.conftest import Bench
from tests.support.launcher import Wire

EXAMPLE = Path(__file__).parents[3] / "examples" / "custom_training.py"
STEPS = 400
DIRECTIVE: Wire = {"id": "d1", "kind": "Adjust", "generation": 2, "atStep": 300, "set": {"learning_rate": 0.2}}


def test_the_example_reports_is_restarted_and_obeys_a_directive(bench: Bench) -> None:
    crash_at = 350
    wrapper = f"""
        import os, pathlib, runpy, signal
        from trainmaster_launcher import sdk
        usual = sdk.Session.progress
        mark = pathlib.Path(__file__ + ".killed")
        def progress(session, phase, *, step=0, **rest):
            if step == {crash_at} and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            usual(session, phase, step=step, **rest)
        sdk.Session.progress = progress
        runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
    """
    changes = {"generation": 2, "directives": [DIRECTIVE], "hyperparameters": {"learning_rate": 0.001, "steps": STEPS}}
    plan = bench.plan(wrapper, **changes)
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url)
    assert launcher.wait() == 0, launcher.printed
    points = server.of_type("point")
    assert [point["step"] for point in points] == list(range(STEPS))
    losses = [point["metrics"]["loss"] for point in points]
    assert losses == undisturbed_losses()
    assert [each["crash"]["signal"] for each in server.of_type("crash")] == [signal.SIGKILL.name]
    assert [each["step"] for each in server.of_type("applied")] == [300]
    assert [point["generation"] for point in points] == [1] * 300 + [2] * 100


def undisturbed_losses() -> list[float]:
    losses, weight = [], 5.0
    for step in range(STEPS):
        losses.append(weight**2)
        weight -= (0.001 if step < 300 else 0.2) * (2 * weight)
    return losses
