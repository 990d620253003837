"""Kill anything at any time: weights, metrics and MLflow's history are those of the undisturbed run, bit for bit.

| what is struck                        | how                                            | test                     |
|---------------------------------------|------------------------------------------------|--------------------------|
| the training process, at every step   | SIGKILL; one sampled, all in `make soak`       | test_training_process_*  |
| it, around checkpoint, report and end | SIGKILL before and after; one, all in soak     | test_around_*            |
| the launcher                          | SIGKILL; never two trainers alive              | test_launcher_*          |
| `trainmaster local run`               | SIGKILL; the same command goes on              | test_driver_sigkill      |
| it                                    | Ctrl-C, then SIGTERM: exit 130; it goes on     | test_driver_interrupted  |
| each of the three, one after another  | SIGSTOP, SIGCONT                               | test_stopped_for_a_while |

Crashes around a directive are in `test_directive_crashes.py`, since the moment of a directive must be scripted.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.local_mode import EPOCHS, LocalMode, Outcome, wait_for

SLOW = 0.1
"""Seconds between two steps where a test interferes from outside."""
LOOK = 0.005
"""Seconds between two looks at the living processes: a hundredth of what a trainer takes to start."""
STOPPED = 1.5
"""Seconds that each process stands still: longer than a tick of session and launcher."""
PROGRESS_CALLS = 27
"""Calls of Session.progress in the tiny run: steps, validations, checkpoints, the test; counted once, and each strike
fails its test when the call that it waits for never comes."""
MOMENTS = [
    f"{method}:{when}:{nth}:SIGKILL"
    for method, calls in (("checkpoint", 6), ("point", 7), ("done", 1))
    for when in ("before", "after")
    for nth in range(1, calls + 1)
]


def assert_same(mode: LocalMode, undisturbed: Outcome) -> None:
    outcome = mode.outcome()
    assert outcome.phase == "Succeeded"
    assert outcome.history == undisturbed.history
    assert outcome.metrics == undisturbed.metrics
    assert outcome.digest == undisturbed.digest


def test_the_undisturbed_run_reports_each_epoch_once(undisturbed: Outcome) -> None:
    assert undisturbed.phase == "Succeeded"
    epochs = [value for key, _, value in undisturbed.history if key == "epoch"]
    assert epochs == [float(epoch) for epoch in range(1, EPOCHS + 1)]


def strike(folder: Path, fault: str, undisturbed: Outcome) -> None:
    mode = LocalMode(folder)
    done = mode.run(fault=fault)
    assert done.returncode == 0, done.stderr
    assert (folder / "struck").exists(), f"{fault} never came about"
    assert_same(mode, undisturbed)


def test_training_process_sigkill_at_a_sampled_step(tmp_path: Path, undisturbed: Outcome, seed: int) -> None:
    nth = random.Random(f"{seed} step").randint(1, PROGRESS_CALLS)
    strike(tmp_path, f"progress:before:{nth}:SIGKILL", undisturbed)


@pytest.mark.soak
@pytest.mark.parametrize("nth", range(1, PROGRESS_CALLS + 1))
def test_training_process_sigkill_at_every_step(tmp_path: Path, undisturbed: Outcome, nth: int) -> None:
    strike(tmp_path, f"progress:before:{nth}:SIGKILL", undisturbed)


def test_around_checkpoint_report_and_end_sampled(tmp_path: Path, undisturbed: Outcome, seed: int) -> None:
    strike(tmp_path, random.Random(f"{seed} moment").choice(MOMENTS), undisturbed)


@pytest.mark.soak
@pytest.mark.parametrize("fault", MOMENTS)
def test_around_checkpoint_report_and_end(tmp_path: Path, undisturbed: Outcome, fault: str) -> None:
    strike(tmp_path, fault, undisturbed)


class TrainerCount(threading.Thread):
    """Looks again and again how many training processes live."""

    def __init__(self, mode: LocalMode) -> None:
        super().__init__(daemon=True)
        self._mode = mode
        self._done = threading.Event()
        self.most = 0
        self.looks = 0

    def run(self) -> None:
        while not self._done.is_set():
            self.most = max(self.most, len(self._mode.processes("trainmaster_trainer")))
            self.looks += 1
            time.sleep(LOOK)

    def stop(self) -> None:
        self._done.set()
        self.join()


def test_launcher_sigkill_never_two_trainers(tmp_path: Path, undisturbed: Outcome) -> None:
    mode = LocalMode(tmp_path)
    count = TrainerCount(mode)
    with mode.running(sleep=SLOW) as driver:
        wait_for(mode.checkpoints, what="the first checkpoint")
        count.start()
        for launcher in mode.processes("trainmaster_launcher"):
            os.kill(launcher, signal.SIGKILL)
        driver.communicate(timeout=120)
        count.stop()
    assert driver.returncode == 0
    assert count.most == 1, f"{count.most} trainers at once, in {count.looks} looks"
    assert mode.object()["status"]["launch"] == 2
    assert_same(mode, undisturbed)


def test_driver_sigkill(tmp_path: Path, undisturbed: Outcome) -> None:
    mode = LocalMode(tmp_path)
    with mode.running(sleep=SLOW) as driver:
        wait_for(mode.checkpoints, what="the first checkpoint")
        driver.kill()
    again = mode.run()
    assert again.returncode == 0, again.stderr
    assert mode.object()["status"]["crashes"] == 0
    assert_same(mode, undisturbed)


def test_driver_interrupted(tmp_path: Path, undisturbed: Outcome) -> None:
    mode = LocalMode(tmp_path)
    for number in (signal.SIGINT, signal.SIGTERM):
        before = mode.checkpoints()[-1:]
        with mode.running(sleep=SLOW) as driver:
            wait_for(lambda: mode.checkpoints()[-1:] != before, what="a new checkpoint")  # noqa: B023 - called at once
            # To the whole group, as a terminal does it.
            os.killpg(driver.pid, number)
            _, told = driver.communicate(timeout=120)
        assert driver.returncode == 130, told
        assert "the same command goes on" in told
        assert mode.object()["status"]["phase"] == "Suspended"
    again = mode.run()
    assert again.returncode == 0, again.stderr
    status = mode.object()["status"]
    assert (status["crashes"], status["disruptions"]) == (0, 0)
    assert_same(mode, undisturbed)


def test_stopped_for_a_while(tmp_path: Path, undisturbed: Outcome) -> None:
    mode = LocalMode(tmp_path)
    with mode.running(sleep=SLOW) as driver:
        wait_for(mode.checkpoints, what="the first checkpoint")
        for who in ("trainmaster_trainer", "trainmaster_launcher", "driver"):
            stopped = [driver.pid] if who == "driver" else mode.processes(who)
            assert stopped, f"no living {who}"
            for process in stopped:
                os.kill(process, signal.SIGSTOP)
            time.sleep(STOPPED)
            for process in stopped:
                os.kill(process, signal.SIGCONT)
        _, told = driver.communicate(timeout=120)
    assert driver.returncode == 0, told
    assert_same(mode, undisturbed)
