"""The market workload, killed at any of 60 steps with everything on that could differ: the same final bits.

On are: accumulation in two slices, bfloat16, a learning rate that warms up and falls, a schedule on dropout,
oversampling and noise. It is killed in this process by an exception that no code of the product catches, and with two
processes by SIGKILL.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from torch import Tensor, nn

from tests.support.bars import write_bars
from tests.support.market_trial import Trial
from tests.support.training import newest_digest, start, store
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster.api.plan import HangLimits, Plan, StoragePlan
from trainmaster_trainer.workload import Knobs

VALUES: Final[dict[str, Any]] = {
    "epochs": 10, "batch_size": 72, "gradient_accumulation_steps": 2, "precision": "bfloat16", "device": "cpu",
    "lr_scheduler": "warmup-cosine", "warmup_epochs": 2, "learning_rate": 0.003, "hidden_size": 8,
    "attention_heads": 2, "window": 6, "dead_zone": 1.0, "use_oversampling": True, "oversample_ratio": 0.5,
    "use_augmentation": True, "gaussian_noise_std": 0.1, "dropout": 0.3, "evaluation": "brief",
}  # fmt: skip
DROPOUT: Final = ParameterSchedule(parameter="dropout", strategy="linear", to="0.1")
BARS: Final = 600
STEPS: Final = 60
SAVE_EVERY: Final = 4
"""Steps: checkpoints fall between the ends of epochs, which are six steps long, and on them."""
PATIENCE_SECONDS: Final = 240

KILLED: Final = """
import os, runpy, signal
from trainmaster_trainer.engine import Engine
take = Engine._step
def take_or_die(self):
    if self.state.step == int(os.environ["KILL_BEFORE_STEP"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return take(self)
Engine._step = take_or_die
runpy.run_module("trainmaster_trainer", run_name="__main__")
"""
"""The trainer, whose first process dies before a step."""


class KilledError(BaseException):
    """As SIGKILL: no code of the product handles it."""


class Mortal(Trial):
    """Dies in the second slice of a step, when the first has left its gradients."""

    killed_at: int | None = None

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        losses = super().losses(model, rows, knobs)
        if self.engine.state.step == self.killed_at and len(self.asked) % 2 == 0:
            raise KilledError
        return losses


def _mortal(bars: Path, *, killed_at: int | None = None, **changes: Any) -> Mortal:  # noqa: ANN401  # any value
    workload = Mortal.from_source(
        MarketClassifierHyperparameters.model_validate({**VALUES, **changes}),
        source=f"pvc://data/{bars.name}",
        volumes={"data": str(bars.parent)},
        schedules=(DROPOUT,),
    )
    workload.killed_at = killed_at
    return workload


def _trained(root: Path, workload: Mortal, *, launch: int = 1) -> list[dict[str, Any]]:
    """Train to the end, or to death; the validation points."""
    workload.engine, session = start(root, workload=workload, launch=launch, every_steps=SAVE_EVERY)
    workload.engine.run()
    return session.of("validation")


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars") / "bars.csv", BARS)


@pytest.fixture(scope="module")
def straight(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """Digest and validation points of a training that nobody kills."""
    root = tmp_path_factory.mktemp("straight")
    workload = _mortal(bars)
    points = _trained(root, workload)
    assert workload.engine.state.step == STEPS
    assert workload.visits > workload.train_rows, "rare classes are repeated"
    return newest_digest(root), points


def _kill_and_go_on(root: Path, bars: Path, *, step: int, straight: tuple[str, list[dict[str, Any]]]) -> None:
    with pytest.raises(KilledError):
        _trained(root, _mortal(bars, killed_at=step))
    assert (store(root).newest() is None) == (step < SAVE_EVERY)

    points = _trained(root, _mortal(bars), launch=2)

    assert newest_digest(root) == straight[0]
    assert points == straight[1]


@pytest.mark.parametrize("sample", range(3))
def test_killed_at_a_sampled_step_it_ends_with_the_same_bits(
    tmp_path: Path, bars: Path, straight: tuple[str, list[dict[str, Any]]], seed: int, sample: int
) -> None:
    step = random.Random(f"{seed} market").sample(range(STEPS), 3)[sample]

    _kill_and_go_on(tmp_path, bars, step=step, straight=straight)


@pytest.mark.soak
@pytest.mark.parametrize("step", range(STEPS))
def test_killed_at_each_step_it_ends_with_the_same_bits(
    tmp_path: Path, bars: Path, straight: tuple[str, list[dict[str, Any]]], step: int
) -> None:
    _kill_and_go_on(tmp_path, bars, step=step, straight=straight)


@pytest.mark.parametrize(
    "off",
    [
        {"gradient_accumulation_steps": 1},
        {"precision": "float32"},
        {"lr_scheduler": "constant"},
        {"use_augmentation": False},
    ],
    ids=lambda off: next(iter(off)),
)
def test_without_one_of_them_the_bits_are_others(
    tmp_path: Path, bars: Path, straight: tuple[str, list[dict[str, Any]]], off: dict[str, Any]
) -> None:
    _trained(tmp_path, _mortal(bars, **off))

    assert newest_digest(tmp_path) != straight[0], "else equal bits would say nothing about it"


# -- two processes ----------------------------------------------------------------------------------------------------


def _in_two_processes(root: Path, bars: Path, *, launch: int, killed_at: int | None = None) -> tuple[int, str]:
    """Exit code, and what was said."""
    limits = HangLimits(starting=60, training=60, validating=60, checkpointing=60, testing=60)
    plan = Plan(
        run_uid="u", namespace="n", name="r", launch=launch, generation=1, base_generation=1,
        workload="market-classifier", hyperparameters=VALUES, parameter_schedules=(DROPOUT,),
        data_source=f"pvc://data/{bars.name}", volumes={"data": str(bars.parent)},
        storage=StoragePlan(root=str(root), every_steps=SAVE_EVERY), cpus=2, processes=2, restart_lease=0,
        hang_limits=limits,
    )  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINMASTER_")}
    environment |= {"TRAINMASTER_PLAN": json.dumps(plan.to_wire()), "OMP_NUM_THREADS": "1"}
    program = ["-m", "trainmaster_trainer"]
    if killed_at is not None:
        program = ["-c", KILLED]
        environment["KILL_BEFORE_STEP"] = str(killed_at)
    process = subprocess.Popen(
        [sys.executable, *program], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        # Its end is also the other rank's: both have the pipe.
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, said


def _kill_two_and_go_on(root: Path, bars: Path, *, step: int, digest: str) -> None:
    code, said = _in_two_processes(root, bars, launch=1, killed_at=step)
    assert code == -signal.SIGKILL, said

    code, said = _in_two_processes(root, bars, launch=2)

    assert code == 0, said
    assert newest_digest(root) == digest


def test_two_processes_killed_at_a_sampled_step_end_with_the_bits_of_one_that_was_not(
    tmp_path: Path, bars: Path, straight: tuple[str, list[dict[str, Any]]], seed: int
) -> None:
    step = random.Random(f"{seed} two").randrange(STEPS)

    _kill_two_and_go_on(tmp_path, bars, step=step, digest=straight[0])


@pytest.mark.soak
@pytest.mark.parametrize("step", range(STEPS))
def test_two_processes_killed_at_each_step_end_with_the_bits_of_one_that_was_not(
    tmp_path: Path, bars: Path, straight: tuple[str, list[dict[str, Any]]], step: int
) -> None:
    _kill_two_and_go_on(tmp_path, bars, step=step, digest=straight[0])
